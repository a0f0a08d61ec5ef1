// What a user of the installed package meets: the same on both engines. tests/integration/test_node.py copies this into a
// project where the package is installed, and says in TINY_DANCER_EXPECTED which engine has to be under it.

import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { createContext, runInContext } from 'node:vm'

import {
  AgentRouter, backend, backendReason, CandidateRouter, init, Router, SemanticRouter, TaskClassifier, TinyDancerError,
  ToolSelector,
} from 'tiny-dancer'

const require = createRequire(import.meta.url)
const files = require('tiny-dancer-encoder')
const scorerPath = process.env.TINY_DANCER_SCORER
const routesPath = process.env.TINY_DANCER_ROUTES
const PRIMES = [{ role: 'user', content: 'Prove that there are infinitely many primes.' }]

function caught(work) {
  try {
    work()
  } catch (error) {
    return error
  }
  assert.fail('nothing was thrown')
}

/** An error has everything its reader needs. */
function refused(error, code, field) {
  assert.ok(error instanceof TinyDancerError && error instanceof Error, String(error))
  assert.equal(error.code, code, error.message)
  if (field !== undefined) assert.equal(error.field, field, error.message)
  for (const name of ['field', 'value', 'remedy']) assert.ok(typeof error[name] === 'string' && error[name].length > 0, name)
  assert.equal(error.message, `${error.field}: ${error.value}; ${error.remedy}`)
  return error
}

const refuses = (work, code, field) => refused(caught(work), code, field)
async function rejects(promise, code, field) {
  return refused(await promise.then(() => assert.fail('nothing was thrown'), (error) => error), code, field)
}

test('the engine that was wanted is under it, and why is said', async () => {
  assert.equal(backend, process.env.TINY_DANCER_EXPECTED)
  assert.ok(backendReason.length > 0)
  await init()
  assert.equal(require('tiny-dancer').Router, Router, 'require and import give the same classes')
})

describe('Router.decide', () => {
  test('decides by the artifact that ships', () => {
    const decision = new Router().decide(PRIMES)
    assert.ok(decision.model in decision.scores)
    assert.equal(typeof decision.reason, 'string')
    assert.deepEqual(new Router({ modelPath: require.resolve('tiny-dancer/edge.safetensors') }).decide(PRIMES), decision)
    const artifact = readFileSync(require.resolve('tiny-dancer/edge.safetensors'))
    assert.deepEqual(new Router({ artifact }).decide(PRIMES), decision)
    assert.deepEqual(new Router({ modelPath: pathToFileURL(require.resolve('tiny-dancer/edge.safetensors')) }).decide(PRIMES), decision)
  })

  test('a request is text, messages, a body, or their JSON as bytes at any offset', () => {
    const router = new Router()
    const decision = router.decide('Prove that there are infinitely many primes.')
    assert.deepEqual(router.decide(PRIMES), decision)
    assert.deepEqual(router.decide({ model: 'auto', messages: PRIMES, temperature: 0.2 }), decision)
    const bytes = Buffer.from(JSON.stringify(PRIMES))
    assert.deepEqual(router.decide(bytes), decision)
    const shifted = new Uint8Array(bytes.length + 3)
    shifted.set(bytes, 3)
    assert.deepEqual(router.decide(shifted.subarray(3)), decision)
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length))
    shared.set(bytes)
    assert.deepEqual(router.decide(shared), decision)
    assert.notDeepEqual(router.decide('hi').scores, decision.scores)
    const other = new Router({ modelPath: files.models }).decide(PRIMES)
    assert.notDeepEqual(other.scores, decision.scores, 'the artifact with an encoder finds it')
  })

  test('options hold, and models take the names they are given', () => {
    const router = new Router({ models: [{ name: 'gpt-4o-mini' }, { name: 'gpt-4o' }] })
    assert.equal(router.decide('hi', { pin: 'gpt-4o' }).model, 'gpt-4o')
    assert.equal(router.decide('hi', { exclude: ['gpt-4o'] }).model, 'gpt-4o-mini')
    refuses(() => router.decide('hi', { exclude: ['gpt-5'] }), 'OptionInvalid', 'exclude')
    refuses(() => router.decide('hi', { unknown: 1 }), 'OptionInvalid')
    refuses(() => router.decide('hi', 'cheap'), 'OptionInvalid', 'options')
    refuses(() => router.decide('hi', { allowed: ['gpt-4o'], exclude: ['gpt-4o'] }), 'NoFeasibleModel')
    refuses(() => new Router({ models: [{ name: 'only one' }] }), 'OptionInvalid')
  })

  test('a constraint that is no number is refused, and not lifted', () => {
    const router = new Router()
    for (const value of [NaN, Infinity]) refuses(() => router.decide('hi', { max_cost: value }), 'OptionInvalid', 'max_cost')
  })

  test('an option that JSON would leave out or empty is refused, and not lifted', () => {
    const router = new Router({ models: [{ name: 'a' }, { name: 'b' }] })
    for (const value of [() => 'a', Symbol('a'), 5n]) refuses(() => router.decide('hi', { pin: value }), 'OptionInvalid', 'pin')
    refuses(() => router.decide('hi', { exclude: new Set(['a']) }), 'OptionInvalid', 'exclude')
    refuses(() => router.decide('hi', { allowed: ['a', undefined] }), 'OptionInvalid', 'allowed[1]')
    refuses(() => router.decide('hi', { max_cost: new Date(NaN) }), 'OptionInvalid', 'max_cost')
    for (const options of [new Map([['pin', 'a']]), Object.create({ pin: 'a' })]) refuses(() => router.decide('hi', options), 'OptionInvalid', 'options')
    assert.equal(router.decide('hi', { pin: 'b', exclude: undefined, max_cost: null }).model, 'b', 'nothing asked is nothing refused')
    assert.equal(router.decide('hi', Object.assign(Object.create(null), { pin: 'b' })).model, 'b')
  })

  test('what cannot be routed is refused by name', () => {
    const router = new Router()
    const { model } = router.decide('hello')
    for (const request of ['', [], {}, undefined, () => 1, 5n, [{ role: 'user', content: '\ud800' }]]) {
      refuses(() => router.decide(request), 'RequestInvalid')
    }
    const circle = []
    circle.push(circle)
    refuses(() => router.decide(circle), 'RequestInvalid')
    refuses(() => router.decide(new Uint8Array([0x22, 0xff, 0x22])), 'RequestInvalid', 'request')
    refuses(() => router.decide({ toJSON: () => { throw new Error('no') } }), 'RequestInvalid')
    assert.equal(router.decide('hello').model, model, 'an error changes nothing')
  })

  test('a batch has the answers of single calls, in order, and names the row of a mistake', async () => {
    const router = new Router()
    const requests = Array.from({ length: 2500 }, (_, row) => `Explain step ${row} of the proof.`)
    const answers = await router.decideBatch(requests, { policy: 'cheapest' })
    assert.equal(answers.length, requests.length)
    for (const row of [0, 1, 1023, 1024, 2499]) {
      assert.deepEqual(answers[row], router.decide(requests[row], { policy: 'cheapest' }))
    }
    assert.deepEqual(await router.decideBatch([Buffer.from('"hello"')]), [router.decide('hello')])
    assert.deepEqual(await router.decideBatch([]), [])
    requests[1500] = ''
    const error = await rejects(router.decideBatch(requests), 'RequestInvalid')
    assert.match(error.field, /^requests\[1500\]\./)
    await rejects(router.decideBatch('hello'), 'RequestInvalid', 'requests')
    await rejects(router.decideBatch([undefined]), 'RequestInvalid', 'requests[0]')
    const holed = ['hello']
    holed[2] = 'hello'
    await rejects(router.decideBatch(holed), 'RequestInvalid', 'requests[1]')
    await rejects(new TaskClassifier({ modelPath: files.tasks }).classifyBatch(['', , '']), 'RequestInvalid')
    await rejects(new CandidateRouter().rankBatch([{ text: 'tea' }, , { text: 'tea' }]), 'CandidateInvalid', 'query')
  })

  test('bytes in a batch are what they are in a call', async () => {
    const router = new Router()
    const bytes = (text) => Uint8Array.from(Buffer.from(text))
    assert.deepEqual(await router.decideBatch([bytes('"hello"').buffer]), [router.decide(bytes('"hello"').buffer)])
    for (const none of [bytes('\ufeff"hello"'), new ArrayBuffer(0), Uint8Array.of(34, 255, 34)]) {
      refuses(() => router.decide(none), 'RequestInvalid')
      assert.match((await rejects(router.decideBatch(['hello', none]), 'RequestInvalid')).field, /^requests\[1\]/)
    }
  })

  test('a batch leaves the event loop to others', async () => {
    const router = new Router()
    let turns = 0
    const timer = setInterval(() => turns++, 0)
    await router.decideBatch(Array.from({ length: 4000 }, (_, row) => `What is ${row} + ${row}?`))
    clearInterval(timer)
    assert.ok(turns > 0)
  })
})

describe('artifacts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tiny-dancer-'))

  test('a file that is missing is an error, and no untrained router', () => {
    const error = refuses(() => new Router({ modelPath: './models/none.safetensors' }), 'ArtifactInvalid', 'modelPath')
    assert.match(error.value, /none\.safetensors: ENOENT/)
    for (const Made of [CandidateRouter, SemanticRouter, TaskClassifier, ToolSelector]) {
      refuses(() => new Made({ modelPath: folder }), 'ArtifactInvalid', 'modelPath')
    }
    refuses(() => new CandidateRouter({ encoderPath: 'none' }), 'ArtifactInvalid', 'encoderPath')
  })

  test('what is no artifact, or of another kind, is refused', () => {
    for (const bytes of [new Uint8Array(0), new Uint8Array(9), Buffer.from('{"json": true}'.repeat(9))]) {
      refuses(() => new Router({ artifact: bytes }), 'ArtifactInvalid')
    }
    const artifact = readFileSync(require.resolve('tiny-dancer/edge.safetensors'))
    artifact[artifact.length - 1] ^= 1
    refuses(() => new Router({ artifact }), 'ArtifactChecksum')
    refuses(() => new Router({ modelPath: files.tasks }), 'ArtifactInvalid')
    refuses(() => new CandidateRouter({ modelPath: files.tasks }), 'ArtifactInvalid')
    refuses(() => new Router({ modelPath: files.encoder }), 'ArtifactInvalid')
  })

  test('options of the constructor are checked', () => {
    refuses(() => new Router({ modelpath: 'x' }), 'OptionInvalid', 'modelpath')
    assert.match(refuses(() => new Router({ modelPth: 'x' }), 'OptionInvalid', 'modelPth').remedy, /^did you mean modelPath\? /)
    assert.match(refuses(() => new AgentRouter({ decay: 5 }), 'OptionInvalid', 'decay').remedy, /^options are halfLife$/)
    refuses(() => new Router({ databasePath: './routing.db' }), 'OptionInvalid', 'databasePath')
    refuses(() => new Router('default.safetensors'), 'OptionInvalid', 'config')
    refuses(() => new Router({ modelPath: 5 }), 'OptionInvalid', 'modelPath')
    refuses(() => new Router({ modelPath: 'a', artifact: new Uint8Array(1) }), 'OptionInvalid', 'modelPath')
    refuses(() => new Router({ artifact: 'bytes' }), 'ArtifactInvalid', 'artifact')
    refuses(() => new Router({ confidenceThreshold: 1.5 }), 'OptionInvalid', 'confidenceThreshold')
    refuses(() => new Router({ maxUncertainty: NaN }), 'OptionInvalid', 'maxUncertainty')
    refuses(() => new Router({ enableQuantization: 1 }), 'OptionInvalid', 'enableQuantization')
    refuses(() => new Router({ enableCircuitBreaker: 'yes' }), 'OptionInvalid', 'enableCircuitBreaker')
    refuses(() => new Router({ circuitBreakerThreshold: 0 }), 'OptionInvalid', 'circuitBreakerThreshold')
    refuses(() => new SemanticRouter(), 'OptionInvalid', 'config')
    refuses(() => new TaskClassifier({}), 'OptionInvalid', 'modelPath')
    refuses(() => new AgentRouter({ halfLife: -1 }), 'OptionInvalid', 'halfLife')
  })

  test('an encoder may be a file, bytes, or found by what the artifact names', () => {
    const found = new TaskClassifier({ modelPath: files.tasks }).classify('Write a haiku about rain.')
    const named = new TaskClassifier({ modelPath: files.tasks, encoderPath: files.encoder })
    assert.deepEqual(named.classify('Write a haiku about rain.'), found)
    const encoder = readFileSync(files.encoder)
    assert.deepEqual(new TaskClassifier({ modelPath: files.tasks, encoder }).classify('Write a haiku about rain.'), found)
    refuses(() => new TaskClassifier({ modelPath: files.tasks, encoderPath: files.sentences }), 'EncoderMissing')
  })

  test('a breaker is closed while all is well, and null where there is none', () => {
    const closed = backend === 'native' ? true : null
    assert.equal(new Router().circuitBreakerStatus(), closed)
    assert.equal(new Router({ modelPath: scorerPath, enableCircuitBreaker: true, circuitBreakerThreshold: 3 }).circuitBreakerStatus(), closed)
    assert.equal(new Router({ enableCircuitBreaker: false }).circuitBreakerStatus(), null)
  })

  test('reloadModel serves what the file has now, and what served where that does not load', async () => {
    const path = join(folder, 'served.safetensors')
    copyFileSync(scorerPath, path)
    const router = new Router({ modelPath: path })
    const request = { queryEmbedding: [1, 0], candidates: [{ id: 'a', embedding: [1, 0.5] }, { id: 'b', embedding: [0, 1] }] }
    const { inferenceTimeUs: _, ...before } = await router.route(request)
    // A file that is being written has nothing in it first.
    for (const part of ['half a file', '']) {
      writeFileSync(path, part)
      await rejects(router.reloadModel(), 'ArtifactInvalid')
    }
    for (const Made of [Router, CandidateRouter, SemanticRouter, TaskClassifier, ToolSelector]) {
      refuses(() => new Made({ modelPath: path }), 'ArtifactInvalid', 'modelPath')
    }
    const { inferenceTimeUs: __, ...same } = await router.route(request)
    assert.deepEqual(same, before)
    refuses(() => router.decide('hi'), 'OptionInvalid', 'decide')
    copyFileSync(require.resolve('tiny-dancer/edge.safetensors'), path)
    const decider = new Router({ modelPath: path })
    const { scores } = decider.decide('hi')
    copyFileSync(files.models, path)
    await decider.reloadModel()
    assert.notDeepEqual(decider.decide('hi').scores, scores)
    await rejects(new Router().reloadModel(), 'OptionInvalid', 'modelPath')
  })

  test('a relative path is of the folder in which the router was made', async () => {
    const before = process.cwd()
    copyFileSync(files.tasks, join(folder, 'elsewhere.safetensors'))
    const deeper = mkdtempSync(join(folder, 'deeper-'))
    copyFileSync(files.models, join(deeper, 'elsewhere.safetensors'))
    copyFileSync(files.encoder, join(deeper, 'encoder.safetensors'))
    try {
      process.chdir(deeper)
      const router = new Router({ modelPath: './elsewhere.safetensors', encoderPath: 'encoder.safetensors' })
      const { scores } = router.decide('hi')
      process.chdir(folder)
      await router.reloadModel()
      assert.deepEqual(router.decide('hi').scores, scores)
      const gone = mkdtempSync(join(folder, 'gone-'))
      process.chdir(gone)
      rmdirSync(gone)
      refuses(() => new Router({ modelPath: 'served.safetensors' }), 'ArtifactInvalid', 'modelPath')
    } finally {
      process.chdir(before)
    }
  })
})

describe('Router.route', () => {
  const candidates = () => [
    { id: 'claude-3-haiku', embedding: new Float32Array([0.5, 0.25, 0.75]), createdAt: Date.now(), accessCount: 100, successRate: 0.95 },
    { id: 'gpt-4', embedding: new Float32Array([0.25, 0.75, -0.5]), createdAt: Date.now(), accessCount: 50, successRate: 0.9, metadata: '{"tier": "premium"}' },
  ]
  const queryEmbedding = new Float32Array([0.5, 0.25, 0.5])

  test('takes and gives the shape of the field', async () => {
    const router = new Router({ modelPath: scorerPath, confidenceThreshold: 0.85, maxUncertainty: 0.15 })
    const response = await router.route({ queryEmbedding, candidates: candidates() })
    assert.deepEqual(response.decisions.map(({ candidateId }) => candidateId).sort(), ['claude-3-haiku', 'gpt-4'])
    for (const decision of response.decisions) {
      assert.deepEqual(Object.keys(decision), ['candidateId', 'confidence', 'useLightweight', 'uncertainty'])
      assert.ok(decision.confidence >= 0 && decision.confidence <= 1)
      assert.ok(decision.uncertainty >= 0 && decision.uncertainty <= 1)
      assert.equal(decision.useLightweight, response.calibrated && decision.confidence >= 0.85 && decision.uncertainty <= 0.15)
    }
    assert.ok(response.inferenceTimeUs > 0)
    assert.deepEqual(response.errors, [])
  })

  test('without training the nearest comes first, and nothing is said to be calibrated', async () => {
    const response = await new Router().route({ queryEmbedding, candidates: candidates() })
    assert.equal(response.decisions[0].candidateId, 'claude-3-haiku')
    assert.equal(response.calibrated, false)
    for (const { useLightweight, uncertainty } of response.decisions) assert.deepEqual([useLightweight, uncertainty], [false, 1])
  })

  test('an embedding is a view at any offset, a list, a Buffer of float32, or rows of a matrix', async () => {
    const router = new Router()
    const asked = async (query, given, embeddings) => {
      const { decisions } = await router.route({ queryEmbedding: query, candidates: given, embeddings, now: 1.7e9 })
      return decisions
    }
    const given = candidates().map(({ id, embedding }) => ({ id, embedding }))
    const expected = await asked(queryEmbedding, given)
    const within = new Float32Array([9, 9, ...queryEmbedding, 9])
    assert.deepEqual(await asked(within.subarray(2, 5), given), expected)
    assert.deepEqual(await asked([...queryEmbedding], given.map(({ id, embedding }) => ({ id, embedding: [...embedding] }))), expected)
    assert.deepEqual(await asked(Float64Array.from(queryEmbedding), given), expected)
    const bytes = Buffer.from(queryEmbedding.buffer)
    assert.deepEqual(await asked(bytes, given), expected)
    const odd = Buffer.alloc(bytes.length + 1)
    bytes.copy(odd, 1)
    assert.deepEqual(await asked(odd.subarray(1), given), expected)
    const shared = new Float32Array(new SharedArrayBuffer(12))
    shared.set(queryEmbedding)
    assert.deepEqual(await asked(shared, given), expected)
    const matrix = Float32Array.from(given.flatMap(({ embedding }) => [...embedding]))
    assert.deepEqual(await asked(queryEmbedding, given.map(({ id }) => ({ id })), matrix), expected)
    const shifted = new Float32Array([7, ...matrix])
    assert.deepEqual(await asked(queryEmbedding, given.map(({ id }) => ({ id })), shifted.subarray(1)), expected)
  })

  test('what cannot be ranked is refused by name, as a rejection', async () => {
    const router = new Router()
    const ask = (change) => router.route({ queryEmbedding, candidates: candidates(), ...change })
    const first = (change) => ask({ candidates: [{ ...candidates()[0], ...change }, candidates()[1]] })
    await rejects(router.route(), 'RequestInvalid', 'request')
    await rejects(ask({ queryEmbedding: undefined }), 'RequestInvalid', 'queryEmbedding')
    await rejects(ask({ queryEmbedding: new Float32Array(2) }), 'CandidateInvalid')
    await rejects(ask({ queryEmbedding: [1, NaN, 1] }), 'CandidateInvalid')
    await rejects(ask({ queryEmbedding: [1, null, 1] }), 'CandidateInvalid', 'queryEmbedding[1]')
    await rejects(ask({ queryEmbedding: 'abc' }), 'CandidateInvalid', 'queryEmbedding')
    await rejects(ask({ queryEmbedding: new BigInt64Array(3) }), 'CandidateInvalid', 'queryEmbedding')
    await rejects(ask({ candidates: 'two' }), 'CandidateInvalid', 'candidates')
    await rejects(ask({ candidates: [null] }), 'CandidateInvalid', 'candidates[0]')
    await rejects(ask({ queries: [] }), 'RequestInvalid', 'queries')
    assert.match((await rejects(ask({ embedings: [] }), 'RequestInvalid', 'embedings')).remedy, /^did you mean embeddings\? /)
    for (const k of [0, 100_001, 2 ** 53]) await rejects(ask({ k }), 'OptionInvalid', 'k')
    // What looks like numbers, and has none where they would be read.
    for (const none of [new Proxy(new Float32Array(3), {}), Object.create(Float32Array.prototype), { [Symbol.toStringTag]: 'Float32Array', length: 3 }]) {
      await rejects(ask({ queryEmbedding: none }), 'CandidateInvalid', 'queryEmbedding')
      await rejects(first({ embedding: none }), 'CandidateInvalid', 'candidates[0].embedding')
      await rejects(router.route({ queryEmbedding, candidates: [{ id: 'a' }], embeddings: none }), 'CandidateInvalid', 'embeddings')
    }
    await rejects(ask({ diversity: 2 }), 'OptionInvalid', 'diversity')
    await rejects(ask({ where: { $nothing: 1 } }), 'CandidateInvalid')
    await rejects(first({ id: undefined }), 'CandidateInvalid', 'candidates[0].id')
    await rejects(first({ id: 'gpt-4' }), 'CandidateInvalid', 'candidates[1].id')
    await rejects(first({ embedding: [1, 2] }), 'CandidateInvalid', 'candidates[1].embedding')
    await rejects(first({ embedding: [1, '2', 3] }), 'CandidateInvalid', 'candidates[0].embedding[1]')
    await rejects(first({ successRate: NaN }), 'CandidateInvalid', 'candidates[0].success_rate')
    await rejects(first({ successRate: 1.5 }), 'CandidateInvalid', 'candidates[0].success_rate')
    await rejects(first({ created_at: 5 }), 'CandidateInvalid', 'candidates[0].created_at')
    await rejects(first({ createdAt: new Date(NaN) }), 'CandidateInvalid', 'candidates[0].created_at')
    await rejects(first({ metadata: 'not JSON' }), 'CandidateInvalid', 'candidates[0].metadata')
    await rejects(first({ metadata: '[1]' }), 'CandidateInvalid', 'candidates[0].metadata')
    await rejects(first({ metadata: { year: NaN } }), 'CandidateInvalid', 'candidates[0].metadata.year')
    await rejects(first({ colour: 'red' }), 'CandidateInvalid', 'candidates[0]')
    await rejects(ask({ embeddings: new Float32Array(6) }), 'CandidateInvalid', 'candidates[0].embedding')
    await rejects(router.route({ queryEmbedding, candidates: [{ id: 'a' }, { id: 'b' }], embeddings: new Float32Array(5) }), 'CandidateInvalid', 'embeddings')
    assert.deepEqual((await ask({ candidates: [] })).decisions, [])
  })

  test('a candidate whose embedding is not finite takes no part, and is named', async () => {
    const [one, other] = candidates()
    other.embedding[1] = NaN
    const { decisions, errors } = await new Router().route({ queryEmbedding, candidates: [one, other] })
    assert.deepEqual(decisions.map(({ candidateId }) => candidateId), ['claude-3-haiku'])
    assert.deepEqual(errors.map(({ candidateId }) => candidateId), ['gpt-4'])
    assert.match(errors[0].reason, /NaN or infinity/)
  })

  test('filters, metadata as JSON text, and k hold', async () => {
    const router = new Router()
    const ids = async (change) => (await router.route({ queryEmbedding, candidates: candidates(), ...change })).decisions.map(({ candidateId }) => candidateId)
    assert.deepEqual(await ids({ where: { tier: 'premium' } }), ['gpt-4'])
    assert.deepEqual(await ids({ where: { tier: 'none' } }), [])
    assert.equal((await ids({ k: 1 })).length, 1)
    const fresh = { id: 'fresh', embedding: [1, 0], createdAt: new Date(Date.UTC(1970, 0, 2)) }
    const expired = { id: 'old', embedding: [1, 0], expiresAt: new Date(Date.UTC(1970, 0, 1, 12)) }
    const asked = { queryEmbedding: [1, 0], candidates: [fresh, expired] }
    const { decisions } = await router.route({ ...asked, now: new Date(Date.UTC(1970, 0, 3)) })
    assert.deepEqual(decisions.map(({ candidateId }) => candidateId), ['fresh'])
  })

  test('embeddings kept as int8 rank as others do', async () => {
    const given = Array.from({ length: 50 }, (_, row) => ({ id: `c${row}`, embedding: [Math.cos(row / 10), Math.sin(row / 10)] }))
    const asked = { queryEmbedding: [1, 0], candidates: given, k: 1 }
    for (const enableQuantization of [true, false]) {
      const { decisions } = await new Router({ enableQuantization }).route(asked)
      assert.equal(decisions[0].candidateId, 'c0')
    }
  })

  test('numbers alone are ranked, and refused, as their JSON is', async () => {
    let state = 7
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647
    const maybe = (value) => (random() < 0.3 ? undefined : value)
    const routers = [new Router(), new Router({ modelPath: scorerPath, confidenceThreshold: 0.3, maxUncertainty: 0.9 })]
    const answered = async (router, request) => {
      try {
        const { inferenceTimeUs: _, ...rest } = await router.route(request)
        return rest
      } catch (error) {
        return { code: error.code, field: error.field, value: error.value, remedy: error.remedy }
      }
    }
    let ties = 0
    for (let round = 0; round < 200; round++) {
      const width = 1 + Math.floor(random() * 40)
      const vector = () => Float32Array.from({ length: width }, () => (random() - 0.4) * 10 ** (random() * 4 - 2))
      const few = [vector(), new Float32Array(width)]
      const candidates = Array.from({ length: 1 + Math.floor(random() * 60) }, (_, row) => ({
        id: `${round % 9 === 0 ? ['b', 'ä', '𝒳', '￿'][row % 4] : 'c'}${Math.floor(random() * 1e6)}-${row}`,
        embedding: random() < 0.3 ? few[row % 2] : vector(),
        [random() < 0.5 ? 'createdAt' : 'created_at']: maybe(random() < 0.3 ? new Date(1e12 * random()) : 1.7 * 10 ** (9 + 3 * Math.floor(random() * 4)) * random()),
        accessCount: maybe(Math.floor(random() * 1000)),
        successRate: maybe(random()),
        metadata: [undefined, null, {}, { tier: 'gold', year: 2020, open: true }, '{"tier": "gold", "": 1.5}', `{"row": ${row}}`][Math.floor(random() * 6)],
      }))
      const request = { queryEmbedding: vector(), candidates, now: 1.7e9, k: maybe(1 + Math.floor(random() * 70)) }
      // Now and then, something of which the JSON has more to say.
      const [first] = candidates
      const changes = [
        () => (first.embedding = vector().fill(NaN)), () => (first.id = candidates.at(-1).id), () => (first.successRate = 1.5),
        () => (first.accessCount = -1), () => (request.queryEmbedding = vector().fill(Infinity)), () => (first.trials = 3),
        () => (request.queryEmbedding = new Float32Array(width + 1)), () => (first.createdAt = '2020-02-02'), () => (first.id = ''),
        () => (first.embedding = new Float32Array(width + 1)), () => (request.k = 0), () => (first.created_at = first.createdAt = 5),
        () => (first.metadata = '{"year": 1e999}'), () => (first.metadata = 'gold'), () => (first.metadata = '["gold"]'),
        () => (first.metadata = { year: NaN }), () => (first.metadata = { tiers: ['gold'], deep: { er: 1 } }), () => (first.metadata = '{"half": "\\ud800"}'),
        () => (first.metadata = new Map([['tier', 'gold']])), () => (first.metadata = { toJSON: () => null }), () => (first.colour = undefined),
        () => (first.metadata = ['gold']), () => (first.metadata = 5), () => (first.metadata = { size: 5n }),
      ]
      changes[Math.floor(random() * 48)]?.()
      const flat = candidates.every(({ embedding }) => embedding.length === width)
      for (const router of routers) {
        // A diversity of 0 changes no answer, and is asked for in JSON.
        const byNumbers = await answered(router, request)
        assert.deepEqual(byNumbers, await answered(router, { ...request, diversity: 0 }), `round ${round}`)
        if (flat) {
          const rows = Float32Array.from(candidates.flatMap(({ embedding }) => [...embedding]))
          const bare = candidates.map(({ embedding: _, ...rest }) => rest)
          assert.deepEqual(await answered(router, { ...request, candidates: bare, embeddings: rows }), byNumbers, `round ${round}`)
        }
        ties += byNumbers.decisions?.some(({ confidence }, place) => confidence === byNumbers.decisions[place + 1]?.confidence) ? 1 : 0
      }
    }
    assert.ok(ties > 20, `${ties}`)
  })

  test('200 callers at once each have their own answer', async () => {
    const router = new Router()
    const callers = Array.from({ length: 200 }, async (_, row) => {
      const own = candidates().map((each) => ({ ...each, id: `${each.id} of ${row}` }))
      const [{ decisions }, [decision]] = await Promise.all([
        router.route({ queryEmbedding, candidates: own }), router.decideBatch([`What is ${row} squared?`]),
      ])
      assert.equal(decisions[0].candidateId, `claude-3-haiku of ${row}`)
      assert.deepEqual(decision, router.decide(`What is ${row} squared?`))
    })
    await Promise.all(callers)
  })
})

test('CandidateRouter keeps its candidates', async () => {
  const router = new CandidateRouter()
  router.add([{ id: 'one', text: 'the tide at noon', embedding: [1, 0] }, { id: 'two', text: 'bread', embedding: [0, 1] }])
  router.add([{ id: 'three' }], new Float32Array([0.5, 0.5]))
  const query = { text: 'when is the tide', embedding: new Float32Array([1, 0]), now: 1.7e9 }
  const ranking = router.rank(query)
  assert.deepEqual(ranking.decisions.map(({ candidate_id }) => candidate_id), ['one', 'three', 'two'])
  assert.ok('cosine' in ranking.decisions[0].features)
  const shown = router.nearest([1, 0], 1)
  assert.deepEqual(shown.map(({ candidate_id }) => candidate_id), ['one'])
  assert.ok(!('features' in shown[0]))
  assert.deepEqual(await router.rankBatch([query, { ...query, k: 1 }]), [ranking, router.rank({ ...query, k: 1 })])
  assert.match((await rejects(router.rankBatch([query, { ...query, k: 0 }]), 'OptionInvalid')).field, /^requests\[1\]\.k$/)
  refuses(() => router.add([{ id: 'four' }, { id: 'one' }]), 'CandidateInvalid', 'candidates[1].id')
  refuses(() => router.add([{ id: 'four', embedding: [1, 2, 3] }]), 'CandidateInvalid')
  assert.equal(router.rank(query).decisions.length, 3, 'all or none are added')
  const worded = new CandidateRouter({ encoderPath: files.sentences })
  worded.add([{ id: 'tea', text: 'She drinks green tea.' }, { id: 'train', text: 'The train leaves at nine.' }])
  assert.equal(worded.rank({ text: 'When does the railway depart?', k: 1 }).decisions[0].candidate_id, 'train')
})

test('an id that says itself what it is in JSON is given back as that', () => {
  const router = new CandidateRouter()
  const embedding = [1, 0]
  router.add([{ id: { toJSON: () => '507f1f77' }, embedding }, { id: new String('wrapped'), embedding }])
  const given = router.rank({ embedding, now: 1.7e9 }).decisions.map(({ candidate_id }) => candidate_id)
  assert.deepEqual(given, ['507f1f77', 'wrapped'])
  assert.deepEqual(router.nearest(embedding).map(({ candidate_id }) => candidate_id), given)
})

test('the nearest are those of a query by JSON, number by number', () => {
  let state = 11
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647
  for (const config of [{}, { enableQuantization: true }, { modelPath: scorerPath, confidenceThreshold: 0.3, maxUncertainty: 0.9 }]) {
    const router = new CandidateRouter(config)
    refuses(() => router.nearest([1, 0], 3), 'CandidateInvalid', 'query_embedding')
    for (let round = 0; round < 20; round++) {
      const vector = () => Float32Array.from({ length: 24 }, () => random() - 0.5)
      const same = vector()
      router.add(Array.from({ length: 7 }, (_, row) => ({ id: `${random()}-${round}-${row}`, embedding: row < 2 ? same : vector(), text: random() < 0.5 ? 'tea' : undefined, accessCount: row })))
      const embedding = round % 5 === 0 ? same : vector()
      const k = 1 + Math.floor(random() * 100)
      const plain = router.rank({ embedding, k, now: Date.now() / 1000 }).decisions.map(({ features: _, ...rest }) => rest)
      assert.deepEqual(router.nearest(embedding, k), plain)
    }
    for (const k of [0, -1, 1.5, 100_001, NaN, '3']) refuses(() => router.nearest(new Float32Array(24), k), 'OptionInvalid', 'k')
    refuses(() => router.nearest([1, 0], 3), 'CandidateInvalid')
    refuses(() => router.nearest(new Float32Array(24).fill(NaN), 3), 'CandidateInvalid')
    refuses(() => router.add([{ id: 'new', embedding: new Float32Array(24) }, { id: 'wide', embedding: [1] }]), 'CandidateInvalid')
    assert.equal(router.nearest(new Float32Array(24).fill(1), 1000).length, 140, 'all or none are added')
  }
})

test('SemanticRouter, ToolSelector, AgentRouter and TaskClassifier answer', async () => {
  const routes = new SemanticRouter({ modelPath: routesPath })
  const night = (context) => routes.route({ vector: [0, 0, 0, 1, 0, 0, 0], encoder: 'toy' }, { context }).route
  // Midnight after a Friday in Berlin, by its clock of winter; the night begins at ten there, nine in UTC.
  assert.equal(night({ now: 1767394800 }), 'night')
  assert.equal(night({ now: new Date(1767394800e3) }), 'night')
  assert.notEqual(night({ now: 1767394800 - 2.5 * 3600 }), 'night')
  refuses(() => night({ now: NaN }), 'OptionInvalid')
  const answer = routes.route({ vector: [0.25, 1, 0, 0, 0, 0, 0], encoder: 'toy' })
  assert.ok('route' in answer, JSON.stringify(answer))
  assert.deepEqual(routes.route({ vector: new Float32Array([0.25, 1, 0, 0, 0, 0, 0]), encoder: 'toy' }), answer)
  assert.deepEqual(await routes.routeBatch([{ vector: [0.25, 1, 0, 0, 0, 0, 0], encoder: 'toy' }]), [answer])
  refuses(() => routes.route({ vector: [1], encoder: 'toy' }), 'RequestInvalid')

  const tools = new ToolSelector({ encoderPath: files.sentences })
  assert.deepEqual(tools.add([{ name: 'weather', description: 'forecast' }, { name: 'mail', description: 'a letter' }]), ['weather', 'mail'])
  assert.equal(tools.select({ text: 'the forecast', k: 1 }).tools[0].id, 'weather')
  refuses(() => tools.select({ text: 'x', k: 'many' }), 'RequestInvalid')

  const agents = new AgentRouter({ halfLife: 86400 })
  agents.put([{ name: 'a', quality: 0.9 }, { name: 'b', quality: 0.4 }])
  assert.equal(agents.choose({ optimize_for: 'quality' }).agent, 'a')
  refuses(() => agents.put([{ name: 'c', quality: NaN }]), 'CandidateInvalid')
  refuses(() => agents.choose({ unknown: 1 }), 'OptionInvalid')
  assert.ok('quality' in agents.observe(undefined, { quality: 1, at: 0 }))

  const tasks = new TaskClassifier({ modelPath: files.tasks })
  const classified = tasks.classify('Write a Python function that sorts a list.')
  assert.deepEqual(await tasks.classifyBatch(['Write a Python function that sorts a list.']), [classified])
  refuses(() => tasks.classify(''), 'RequestInvalid')
})

test('a condition that is not there is refused, and lets nobody through', async () => {
  const router = new Router()
  const embedding = new Float32Array([1, 0, 0])
  const ask = (where) => router.route({ queryEmbedding: embedding, candidates: [{ id: 'a', embedding, metadata: { user: 'anna' } }], where })
  for (const user of [undefined, () => 'bo', Symbol('bo')]) await rejects(ask({ user }), 'CandidateInvalid', 'query.where.user')
  await rejects(ask({ $and: [{ user: undefined }] }), 'CandidateInvalid', 'query.where.$and[0].user')
  await rejects(ask({ user: { $in: [undefined] } }), 'CandidateInvalid', 'query.where.user.$in[0]')
  for (const where of [new Map([['user', 'bo']]), Object.create({ user: 'bo' })]) await rejects(ask(where), 'CandidateInvalid', 'query.where')
  const kept = new CandidateRouter()
  kept.add([{ id: 'a', embedding, metadata: { user: 'anna', team: undefined } }])
  refuses(() => kept.rank({ embedding, where: { user: undefined } }), 'CandidateInvalid', 'query.where.user')
  refuses(() => kept.nearest(embedding, NaN), 'OptionInvalid', 'k')
  assert.deepEqual((await ask({ user: 'bo' })).decisions, [])
  assert.equal((await ask({})).decisions.length, 1)
})

test('properties that are no JSON are refused by their place', async () => {
  const router = new Router()
  const circle = {}
  circle.self = circle
  const throwing = { get user() { throw new Error('not now') } }
  const given = (more) => router.route({ text: 'tea', candidates: [{ id: 'a' }, { id: 'b', ...more }] })
  const embedding = new Float32Array([1, 0])
  const numbers = (more) => router.route({ queryEmbedding: embedding, candidates: [{ id: 'a', embedding }, { id: 'b', embedding, ...more }] })
  for (const metadata of [circle, throwing, new Map([['user', 'anna']])]) {
    for (const ask of [given, numbers]) await rejects(ask({ metadata }), 'CandidateInvalid', 'candidates[1].metadata')
  }
  const closed = { id: 'b', get embedding() { throw new Error('connection closed') } }
  const error = await rejects(router.route({ queryEmbedding: embedding, candidates: [{ id: 'a', embedding }, closed] }), 'CandidateInvalid', 'candidates[1]')
  assert.equal(error.value, 'connection closed')
  await rejects(given({ metadata: { rows: [5n] } }), 'CandidateInvalid', 'candidates[1].metadata.rows[0]')
  await rejects(given({ accessCount: 5n }), 'CandidateInvalid', 'candidates[1].access_count')
  await rejects(given({ id: Symbol('b') }), 'CandidateInvalid', 'candidates[1].id')
  assert.equal((await given({ metadata: { at: new Date(0), user: undefined } })).decisions.length, 2)
})

test('a buffer that was given away has no numbers and no bytes, and stops nothing', async () => {
  const router = new Router()
  const kept = new CandidateRouter()
  const embedding = new Float32Array([1, 0, 0])
  kept.add([{ id: 'a', embedding }])
  const gone = new Float32Array(3)
  structuredClone(gone.buffer, { transfer: [gone.buffer] })
  for (const none of [gone, new Float32Array(0), [], Buffer.alloc(0)]) {
    await rejects(router.route({ queryEmbedding: none, candidates: [{ id: 'a', embedding }] }), 'CandidateInvalid', 'queryEmbedding')
    await rejects(router.route({ queryEmbedding: embedding, candidates: [{ id: 'a', embedding: none }] }), 'CandidateInvalid', 'candidates[0].embedding')
    refuses(() => kept.nearest(none), 'CandidateInvalid', 'embedding')
  }
  await rejects(router.route({ queryEmbedding: embedding, candidates: [{ id: 'a' }], embeddings: gone }), 'CandidateInvalid', 'embeddings')
  for (const none of [gone.buffer, new Uint8Array(gone.buffer.byteLength), new ArrayBuffer(0)]) {
    refuses(() => router.decide(none), 'RequestInvalid', 'request')
    refuses(() => new Router({ artifact: none }), 'ArtifactInvalid', 'artifact')
    refuses(() => new CandidateRouter({ artifact: none }), 'ArtifactInvalid', 'artifact')
    refuses(() => new CandidateRouter({ encoder: none }), 'ArtifactInvalid', 'encoder')
  }
  assert.equal(kept.nearest(embedding, 1)[0].candidate_id, 'a')
})

test('an encoder that an artifact names is looked up among the encoders alone', () => {
  for (const name of ['__proto__', 'constructor', '../../package.json']) {
    const header = JSON.stringify({ __metadata__: { tiny_dancer: JSON.stringify({ features: { encoder: name } }) } })
    const artifact = Buffer.alloc(8 + header.length)
    artifact.writeBigUInt64LE(BigInt(header.length))
    artifact.write(header, 8)
    assert.match(refuses(() => new Router({ artifact }), 'EncoderMissing', 'encoder').remedy, /tiny-dancer-encoder/)
  }
})

test('a getter that asks in the middle of a question changes no answer', async () => {
  const router = new Router()
  const [near, far] = [new Float32Array([1, 0, 0]), new Float32Array([0, 1, 0])]
  const ask = (second) => router.route({ queryEmbedding: near, candidates: [{ id: 'near', embedding: near }, second] })
  const { decisions } = await ask({ id: 'far', embedding: far })
  let inner
  const asking = {
    id: 'far',
    get embedding() {
      inner = router.route({ queryEmbedding: [1, 1, 1], candidates: [{ id: 'other', embedding: [5, 5, 5] }] })
      return far
    },
  }
  assert.deepEqual((await ask(asking)).decisions, decisions)
  assert.equal((await inner).decisions[0].candidateId, 'other')
  // Candidates with other properties, or with what only JSON can say, change nothing of what is read of the outer one.
  const used = { accessCount: 1000, successRate: 0.9 }
  const plain = await ask({ id: 'far', embedding: near, ...used })
  for (const other of [{ id: 'x', embedding: near }, { id: 'x', embedding: near, text: 'tea' }]) {
    const asked = await ask({
      get id() {
        router.route({ queryEmbedding: near, candidates: [other] })
        return 'far'
      },
      embedding: near, ...used,
    })
    assert.deepEqual(asked.decisions, plain.decisions)
  }
})

test('what only looks like candidates or their numbers is refused by its place', async () => {
  const router = new Router()
  const embedding = new Float32Array([1, 0])
  const ask = (candidates) => router.route({ queryEmbedding: embedding, candidates })
  await rejects(ask([{ id: 'a', embedding: new Proxy(embedding, {}) }]), 'CandidateInvalid', 'candidates[0].embedding')
  await rejects(ask([{ id: 'a', embedding: Object.create(embedding) }]), 'CandidateInvalid', 'candidates[0].embedding')
  await rejects(ask([{ id: 'a', embedding }, , { id: 'b', embedding }]), 'CandidateInvalid', 'candidates[1]')
  await rejects(ask([{ id: 'a', embedding, accessCount: '5' }]), 'CandidateInvalid', 'candidates[0].access_count')
  class Memory {
    constructor(id) {
      Object.assign(this, { id, embedding })
    }
    get colour() {
      return 'red'
    }
  }
  const given = new Proxy([new Memory('b'), Object.freeze({ id: 'a', embedding, [Symbol('own')]: 1 })], {})
  assert.deepEqual((await ask(given)).decisions.map(({ candidateId }) => candidateId), ['a', 'b'])
  await rejects(ask([{ id: 'a', get embedding() { throw new TinyDancerError('CandidateInvalid', 'mine', 'its own', 'see to it') } }]), 'CandidateInvalid', 'mine')
})

test('reloadModel takes no artifact of another kind', async () => {
  const models = require.resolve('tiny-dancer/edge.safetensors')
  const path = join(mkdtempSync(join(tmpdir(), 'tiny-dancer-')), 'model.safetensors')
  for (const [first, second] of [[models, scorerPath], [scorerPath, models]]) {
    copyFileSync(first, path)
    const router = new Router({ modelPath: path })
    copyFileSync(second, path)
    await rejects(router.reloadModel(), 'ArtifactInvalid')
    if (first === models) assert.ok(router.decide('hi').model)
    else assert.deepEqual((await router.route({ text: 'hi', candidates: [] })).decisions, [])
    copyFileSync(first, path)
    await router.reloadModel()
  }
})

test('what holds nothing of its own is no object of options', async () => {
  const agents = new AgentRouter()
  agents.put([{ name: 'a', quality: 0.9 }])
  const embedding = [1, 0]
  for (const given of [new Map([['max_cost', 1]]), Object.create({ max_cost: 1 }), new Set(['a'])]) {
    refuses(() => agents.choose(given), 'OptionInvalid', 'query')
    refuses(() => new Router(given), 'OptionInvalid', 'config')
    refuses(() => new CandidateRouter().rank(given), 'CandidateInvalid', 'query')
    await rejects(new Router().route(given), 'RequestInvalid', 'request')
    await rejects(new Router().route({ queryEmbedding: embedding, candidates: [given] }), 'CandidateInvalid', 'candidates[0]')
  }
})

test('bytes and numbers of another realm, as of test runners and frames, are read', async () => {
  const other = createContext({ edge: [...readFileSync(require.resolve('tiny-dancer/edge.safetensors'))] })
  const made = (source) => runInContext(source, other)
  for (const artifact of ['Uint8Array.from(edge)', 'Uint8Array.from(edge).buffer'].map(made)) {
    assert.deepEqual(new Router({ artifact }).decide(PRIMES), new Router().decide(PRIMES))
  }
  assert.deepEqual(new Router().decide(made('Uint8Array.of(34, 104, 105, 34)')), new Router().decide('hi'))
  const embeddings = made('Float32Array.of(1, 0, 0, 1)')
  const { decisions } = await new Router().route({ queryEmbedding: made('[1, 0]'), candidates: made('[{ id: "a" }, { id: "b" }]'), embeddings })
  assert.deepEqual(decisions.map(({ candidateId }) => candidateId), ['a', 'b'])
})

test('what a browser requires can be required where jsdom has no TextEncoder, and says so', async () => {
  const shown = createContext({ require: createRequire(require.resolve('tiny-dancer/package.json')), globalThis: undefined, WebAssembly })
  const loaded = new Map()
  const load = (path) => {
    if (!loaded.has(path)) {
      const module = { exports: {} }
      loaded.set(path, module)
      const wrapped = runInContext(`(function (module, require) { ${readFileSync(path, 'utf8')}\n})`, shown)
      wrapped(module, (name) => load(join(path, '..', name)))
    }
    return loaded.get(path).exports
  }
  const { init, TinyDancerError: own } = load(join(require.resolve('tiny-dancer/package.json'), '..', 'portable.cjs'))
  const error = await init(new Uint8Array(8)).then(() => assert.fail('nothing was thrown'), (thrown) => thrown)
  assert.ok(error instanceof own)
  assert.deepEqual([error.code, error.field], ['ModuleMissing', 'TextEncoder'])
})
