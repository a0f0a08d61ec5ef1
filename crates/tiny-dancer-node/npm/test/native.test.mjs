// What only the native module has: panics that are caught, a breaker, levels below the artifact.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { test } from 'node:test'

import { backend, CandidateRouter, Router, TinyDancerError } from 'tiny-dancer'

const require = createRequire(import.meta.url)
const options = { skip: backend !== 'native' && 'the WebAssembly module answers' }
const native = () => {
  const modules = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..', 'node_modules')
  const name = readdirSync(modules).find((each) => /^tiny-dancer-(linux|darwin|win32)/.test(each))
  return require(name)
}

function said(work) {
  try {
    work()
  } catch (error) {
    return JSON.parse(error.message)
  }
  assert.fail('nothing was thrown')
}

/** The engine's object under one of the package's: what its class's method is called with. */
function under(Class, method, work) {
  const original = Class.prototype[method]
  let found
  Class.prototype[method] = function (...given) {
    found = this
    return original.apply(this, given)
  }
  try {
    work()
  } finally {
    Class.prototype[method] = original
  }
  return found
}

test('a panic is an error, and the process goes on', options, () => {
  const error = said(() => native().panicWith('forced'))
  assert.deepEqual([error.code, error.field, error.value], ['EngineStopped', 'engine', 'forced'])
  assert.match(error.remedy, /make the object anew/)
})

test('a set that stopped in its middle says so until it is made anew', options, () => {
  const router = new CandidateRouter()
  router.add([{ id: 'a', text: 'tea' }])
  const candidates = under(native().Candidates, 'rank', () => router.rank({ text: 'tea' }))
  assert.equal(said(() => candidates.panicWith('forced')).code, 'EngineStopped')
  for (const work of [() => router.rank({ text: 'tea' }), () => router.add([{ id: 'b' }])]) {
    assert.throws(work, (error) => error instanceof TinyDancerError && error.code === 'EngineStopped')
  }
})

test('numbers alone are ranked where they lie, and by JSON where there is more to say', options, async () => {
  const { Scorer } = native()
  const { rankRows } = Scorer.prototype
  const answers = []
  Scorer.prototype.rankRows = function (...given) {
    answers.push(rankRows.apply(this, given))
    return answers.at(-1)
  }
  try {
    const router = new Router()
    const route = (change) => router.route({ queryEmbedding: [1, 0], candidates: [{ id: 'a', embedding: new Float32Array([1, 0]), ...change }] })
    for (const change of [
      {}, { successRate: 0.5, createdAt: new Date(0) }, { metadata: '{"tier": "gold"}', access_count: 5 }, { metadata: { tier: 'gold' } },
      { text: 'tea' }, { metadata: { tiers: ['gold'] } }, { embedding: [1, 0] }, { embedding: new Float32Array([NaN, 0]) },
    ]) {
      assert.equal((await route(change)).decisions.length, Number.isNaN(change.embedding?.[0]) ? 0 : 1)
    }
    const inherited = Object.assign(Object.create({ successRate: 2, colour: 'red' }), { id: 'a', embedding: new Float32Array([1, 0]) })
    assert.equal((await router.route({ queryEmbedding: [1, 0], candidates: [inherited] })).decisions.length, 1, 'nothing inherited is read')
  } finally {
    Scorer.prototype.rankRows = rankRows
  }
  assert.deepEqual(answers, [0, 0, 0, 0, -1, 0])
})

test('while the artifact fails, rules decide; the breaker opens, and is open for users to see', options, () => {
  const router = new Router({ circuitBreakerThreshold: 2 })
  const request = [{ role: 'user', content: 'Prove that there are infinitely many primes.' }]
  const usual = router.decide(request)
  assert.ok(!('level' in usual))
  const models = under(native().Router, 'decide', () => router.decide(request))
  for (let failure = 0; failure < 20; failure++) {
    const answer = JSON.parse(models.decideWithPanic('"hi"', 'forced'))
    assert.ok(answer.level === 2 || answer.level === 3, JSON.stringify(answer))
    if (failure === 0) assert.match(answer.level_reason, /panicked: forced/)
  }
  assert.equal(router.circuitBreakerStatus(), false)
  const answer = router.decide(request)
  assert.match(answer.level_reason, /circuit open/)
  assert.deepEqual(Object.keys(usual.scores), Object.keys(answer.scores))
  assert.throws(() => router.decide(''), { code: 'RequestInvalid' })
})

test('while a scorer fails, candidates are ranked without it', options, async () => {
  const router = new CandidateRouter({ modelPath: process.env.TINY_DANCER_SCORER, circuitBreakerThreshold: 2 })
  router.add([{ id: 'a', text: 'tea' }, { id: 'b', text: 'bread' }])
  const candidates = under(native().Candidates, 'rank', () => router.rank({ text: 'tea' }))
  for (let failure = 0; failure < 20; failure++) candidates.rankWithPanic('{"text": "tea"}', 'forced')
  const ranking = router.rank({ text: 'tea' })
  assert.equal(ranking.level, 2)
  assert.match(ranking.level_reason, /circuit open; the combination without training/)
  assert.equal(ranking.decisions[0].candidate_id, 'a')
  assert.equal(ranking.decisions[0].use_lightweight, false)
})
