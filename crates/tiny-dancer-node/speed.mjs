// Microseconds a decision and a ranking take in Node, for benchmarks/micro/doors/node.py:
//
//     node speed.mjs PACKAGE ARTIFACT ENCODER REQUESTS VECTORS ROUNDS

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const [folder, artifact, encoder, requests, vectors, rounds] = process.argv.slice(2)
const { backend, CandidateRouter, Router } = createRequire(import.meta.url)(folder)
const router = new Router({ modelPath: artifact, encoderPath: encoder })
const texts = JSON.parse(readFileSync(requests, 'utf8'))
const bytes = readFileSync(vectors)
const numbers = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
const width = numbers[0]
const query = numbers.subarray(1, 1 + width)
const rows = numbers.subarray(1 + width)
const candidates = Array.from({ length: rows.length / width }, (_, row) => ({ id: `c${row}` }))
const kept = new CandidateRouter()
kept.add(candidates, rows)
const asEach = candidates.map(({ id }, row) => ({ id, embedding: rows.slice(row * width, (row + 1) * width) }))
const whole = asEach.map((each, row) => ({ ...each, metadata: `{"tier":"t${row % 7}"}`, createdAt: 1.7e12 + row, accessCount: row, successRate: row / 100 }))
const once = new Router()

/** The best round's microseconds a call. */
async function best(calls, work) {
  let least = Infinity
  for (let round = 0; round < 10 + Number(rounds); round++) {
    const begun = performance.now()
    for (let call = 0; call < calls; call++) await work(call)
    // V8 optimises during the first ones.
    if (round >= 10) least = Math.min(least, ((performance.now() - begun) * 1000) / calls)
  }
  return least
}

function bestAtOnce(calls, work) {
  let least = Infinity
  for (let round = 0; round < 10 + Number(rounds); round++) {
    const begun = performance.now()
    for (let call = 0; call < calls; call++) work(call)
    if (round >= 10) least = Math.min(least, ((performance.now() - begun) * 1000) / calls)
  }
  return least
}

const decide_us = bestAtOnce(texts.length * 10, (call) => router.decide(texts[call % texts.length]))
const rank_us = bestAtOnce(500, () => kept.nearest(query, 10))
const matrix_us = await best(200, () => once.route({ queryEmbedding: query, candidates, embeddings: rows, k: 10 }))
const each_us = await best(200, () => once.route({ queryEmbedding: query, candidates: asEach }))
const whole_us = await best(200, () => once.route({ queryEmbedding: query, candidates: whole }))
const begun = performance.now()
const batch = await router.decideBatch(Array.from({ length: 4096 }, (_, row) => texts[row % texts.length]))
const batch_us = ((performance.now() - begun) * 1000) / batch.length
console.log(JSON.stringify({ backend, decide_us, rank_us, matrix_us, each_us, whole_us, batch_us }))
