// Threads, and many calls: started by tests/integration/test_node.py on both engines.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

import { backend, CandidateRouter, Router } from 'tiny-dancer'

const REQUESTS = ['hi', 'Prove that there are infinitely many primes.', 'Translate "good morning" into French.']

if (!isMainThread) {
  const router = new Router()
  const batch = await router.decideBatch(workerData)
  parentPort.postMessage({ backend, decided: workerData.map((request) => router.decide(request)), batch })
} else {
  test('threads of their own decide as this one does, and end', async () => {
    const router = new Router()
    const expected = REQUESTS.map((request) => router.decide(request))
    const asked = Array.from({ length: 4 }, async () => {
      const worker = new Worker(new URL(import.meta.url), { workerData: REQUESTS })
      const ended = new Promise((resolve) => worker.once('exit', resolve))
      const answer = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      assert.deepEqual(answer, { backend, decided: expected, batch: expected })
      assert.equal(await ended, 0)
    })
    await Promise.all(asked)
  })

  test('only threads may load it, one after the other', async () => {
    // In a process whose main thread never does.
    const script = `
      const { once } = require('node:events')
      const { Worker } = require('node:worker_threads')
      const work = 'const { Router } = require("tiny-dancer");' +
        'new Router().decideBatch(Array(200).fill("hi")).then((all) => require("worker_threads").parentPort.postMessage(all.length))'
      async function main() {
        for (let turn = 0; turn < 4; turn++) {
          const worker = new Worker(work, { eval: true })
          const ended = once(worker, 'exit')
          const [count] = await once(worker, 'message')
          console.log(count, ...(await ended))
        }
      }
      main()`
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', script])
    assert.equal(stdout, '200 0\n'.repeat(4))
  })

  test('a process may end in the middle of a batch', async () => {
    const script = 'const { Router } = require("tiny-dancer");' +
      'new Router().decideBatch(Array(20000).fill("What is a heat pump?")); setImmediate(() => process.exit(0))'
    await promisify(execFile)(process.execPath, ['-e', script])
  })

  test('a thread that is stopped in the middle of a batch takes nobody with it', async () => {
    const worker = new Worker(
      'const { Router } = require("tiny-dancer"); const router = new Router();' +
        'router.decideBatch(Array(5000).fill("What is a heat pump?")); require("worker_threads").parentPort.postMessage("begun")',
      { eval: true },
    )
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    await worker.terminate()
    assert.ok(new Router().decide('hi').model.length > 0)
  })

  const limited = { skip: (backend !== 'wasm' || process.platform !== 'linux') && 'WebAssembly on Linux' }
  test('where a process may have few addresses, the error says what to do, and that helps', limited, async () => {
    const script = 'const { Router } = require("tiny-dancer");' +
      'try { console.log(typeof new Router().decide("hi").model) } catch ({ code, field, remedy }) { console.log(code, field, remedy) }'
    const within = async (...flags) => {
      const { stdout } = await promisify(execFile)('sh', ['-c', 'ulimit -v 8000000; exec "$0" "$@"', process.execPath, ...flags, '-e', script])
      return stdout
    }
    // Node 24 goes on by itself.
    assert.match(await within(), /^(string|EngineStopped memory .*--disable-wasm-trap-handler)\n$/)
    assert.equal(await within('--disable-wasm-trap-handler'), 'string\n')
  })

  test('10,000 calls and their errors take no memory that is kept', async () => {
    const router = new Router()
    const candidates = new CandidateRouter()
    candidates.add(Array.from({ length: 20 }, (_, row) => ({ id: `c${row}`, text: `tea of ${row} leaves` })))
    const given = Array.from({ length: 20 }, (_, row) => ({ id: `c${row}`, embedding: new Float32Array(64).fill(row + 1) }))
    const queryEmbedding = new Float32Array(64).fill(1)
    const few = new Router()
    const calls = async (count) => {
      for (let call = 0; call < count; call++) {
        router.decide(REQUESTS[call % REQUESTS.length])
        candidates.rank({ text: 'tea', k: 3 })
        await few.route({ queryEmbedding, candidates: given })
        assert.throws(() => router.decide(''))
      }
    }
    // Heaps and pools grow to what such calls need.
    await calls(3000)
    globalThis.gc()
    const before = process.memoryUsage().rss
    await calls(10_000)
    globalThis.gc()
    const grown = (process.memoryUsage().rss - before) / 2 ** 20
    // What 10,000 calls are given would be 51 MB; compiled code and pages of the heap come and go by some 25.
    assert.ok(grown < 40, `${grown.toFixed(1)} MB more after 10,000 calls`)
  })

  test('the rows of a large question are not kept', async () => {
    const router = new Router()
    const embedding = new Float32Array(2048).fill(1)
    const ask = (count) => router.route({ queryEmbedding: embedding, candidates: Array.from({ length: count }, (_, row) => ({ id: `c${row}`, embedding })), k: 1 })
    await ask(10)
    globalThis.gc()
    const before = process.memoryUsage().arrayBuffers
    await ask(8192)
    // What is collected is given back on the next turn.
    globalThis.gc()
    await new Promise((resolve) => setImmediate(resolve))
    globalThis.gc()
    const grown = (process.memoryUsage().arrayBuffers - before) / 2 ** 20
    assert.ok(grown < 8, `${grown.toFixed(1)} MB more after a question of 64 MB`)
  })
}
