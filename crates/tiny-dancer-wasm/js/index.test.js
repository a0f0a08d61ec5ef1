// What a user of the package meets; started by tests/integration/test_wasm.py.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'

import { AgentRouter, CandidateRouter, edge, init, Router, RouterConfig, SemanticRouter, TaskClassifier, ToolSelector } from './index.js'
import { Instance } from './instance.js'

const path = process.env.TINY_DANCER_WASM
const module = new WebAssembly.Module(readFileSync(path))
const data = (name) => readFileSync(new URL(`../../../python/tiny_dancer/data/${name}`, import.meta.url))
const artifact = data('default.safetensors')
const encoder = data('encoder.safetensors')

test('nothing is made before init', () => {
  assert.throws(() => new Router(artifact, { encoder }), { code: 'NotInitialised', remedy: /await init/ })
})

test('init takes a URL, bytes, or a module', async () => {
  await init(pathToFileURL(path))
  await init(readFileSync(path))
  await init(module)
})

test('what is no module of ours is refused before anything is made of it', async () => {
  const html = new TextEncoder().encode('<!doctype html>')
  const other = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])
  for (const source of [html, new Response(html), new Response('', { status: 404 }), other, new WebAssembly.Module(other), 5, null, 'no address']) {
    await assert.rejects(init(source), { name: 'TinyDancerError', code: 'ModuleMissing', field: 'source', remedy: /serve tiny-dancer.wasm/ })
  }
  await assert.rejects(init(Promise.reject(new Error('offline'))), { code: 'ModuleMissing', value: 'offline' })
  await init(module)
})

test('an option that nobody reads is refused, with the one that was meant', () => {
  const unknown = { code: 'OptionInvalid', value: 'unknown' }
  assert.throws(() => new Router(artifact, { encoder, model: [] }), { ...unknown, field: 'model', remedy: /^did you mean models\? / })
  assert.throws(() => new ToolSelector({ artefact: artifact }), { ...unknown, field: 'artefact', remedy: /^did you mean artifact\? / })
  assert.throws(() => new AgentRouter({ decay: 5 }), { ...unknown, field: 'decay', remedy: 'options are halfLife' })
  assert.throws(() => new CandidateRouter({ confidenceTreshold: 0.9 }), { ...unknown, field: 'confidenceTreshold', remedy: /^did you mean confidenceThreshold\? / })
  for (const Made of [SemanticRouter, TaskClassifier]) {
    assert.throws(() => new Made(artifact, { encode: encoder }), { ...unknown, field: 'encode', remedy: /^did you mean encoder\? / })
  }
})

test('the module imports nothing and its memory is bounded', () => {
  assert.deepEqual(WebAssembly.Module.imports(module), [])
  const instance = new Instance(module)
  assert.ok(instance.memory <= 2 << 20, `${instance.memory}`)
  assert.throws(() => instance.call('router', { length: 1 << 29 }), { code: 'EngineStopped' })
  assert.ok(instance.memory <= 1 << 28)
})

test('a router decides with the artifact that ships', () => {
  const router = new Router(artifact, { encoder })
  const decision = router.decide([{ role: 'user', content: 'Prove that there are infinitely many primes.' }])
  assert.ok(decision.model in decision.scores && decision.guarantee_note !== undefined)
  assert.deepEqual(JSON.parse(router.decideJson('"hello"')), router.decide('hello'))
})

test('errors say code, field, value and remedy', () => {
  const router = new Router(artifact, { encoder })
  const { model } = router.decide('hello')
  const caught = (work) => {
    try {
      work()
    } catch (error) {
      return error
    }
    assert.fail('nothing was thrown')
  }
  const of = (work) => caught(work).code
  assert.equal(of(() => router.decide('')), 'RequestInvalid')
  assert.equal(of(() => router.decide(undefined)), 'RequestInvalid')
  assert.equal(of(() => router.decide('hello', { exclude: ['no such model'] })), 'OptionInvalid')
  assert.equal(of(() => new Router(artifact)), 'EncoderMissing')
  assert.equal(of(() => new Router('a path')), 'ArtifactInvalid')
  assert.equal(of(() => new Router(new Uint8Array(9))), 'ArtifactInvalid')
  const error = caught(() => router.decide('hello', { unknown: 1 }))
  for (const name of ['field', 'value', 'remedy']) assert.ok(error[name].length > 0, name)
  assert.equal(error.message, `${error.field}: ${error.value}; ${error.remedy}`)
  assert.equal(router.decide('hello').model, model, 'an error changes nothing')
})

test('a panic stops the instance for good and says why', () => {
  const instance = new Instance(module)
  instance.call('agents')
  assert.throws(() => instance.call('decide', '"hello"'), { code: 'EngineStopped', value: /Decide is not for what/ })
  assert.throws(() => instance.call('choose', '{}'), { code: 'EngineStopped' })
  assert.throws(() => new Instance(module).call('none such'), { code: 'EngineStopped', value: /no operation/ })
})

test('a router whose instance stopped has a new one, and a set whose tools are lost says so', () => {
  const router = new Router(artifact, { encoder })
  const tools = new ToolSelector()
  tools.add([{ name: 'weather', description: 'forecast' }])
  const { model } = router.decide('hello')
  const long = 'x'.repeat(1 << 27)
  assert.throws(() => router.decideJson(long), { code: 'EngineStopped' })
  assert.equal(router.decide('hello').model, model)
  assert.throws(() => tools.select({ text: long }), { code: 'EngineStopped' })
  assert.throws(() => tools.select({ text: 'forecast' }), { code: 'EngineStopped', remedy: /anew/ })
})

test('tools, agents and candidates', () => {
  const tools = new ToolSelector()
  assert.deepEqual(tools.add([{ name: 'weather', description: 'forecast' }, { name: 'mail', description: 'a letter' }]), ['weather', 'mail'])
  assert.equal(tools.select({ text: 'the forecast', k: 1 }).tools[0].id, 'weather')
  const agents = new AgentRouter({ halfLife: 86400 })
  agents.put([{ name: 'a', quality: 0.9 }, { name: 'b', quality: 0.4 }])
  assert.equal(agents.choose({ optimize_for: 'quality' }).agent, 'a')
  assert.throws(() => agents.choose({ unknown: 1 }), { code: 'OptionInvalid' })
  assert.ok('quality' in agents.observe(undefined, { quality: 1, at: 0 }))
  const candidates = new CandidateRouter()
  candidates.add([{ id: 'one', text: 'the tide at noon' }, { id: 'two', text: 'bread' }])
  assert.equal(candidates.rank({ text: 'when is the tide', k: 1 }).decisions[0].candidate_id, 'one')
})

test('candidates with their embeddings as numbers', () => {
  const config = new RouterConfig()
  config.set_confidence_threshold(0.5)
  const router = new CandidateRouter(config)
  const far = { id: 'far', embedding: new Float32Array([0, 1, 0]), metadata: { of: 'x' }, createdAt: 0, accessCount: 1, successRate: 0.5 }
  // A view into a larger buffer, at an offset that is no multiple of the module's alignment of eight.
  const near = { id: 'near', embedding: new Float32Array(new Float32Array([9, 1, 0.1, 0]).buffer, 4, 3) }
  const asked = { queryEmbedding: new Float32Array([1, 0, 0]), candidates: [far, near] }
  const { decisions, inferenceTimeUs } = router.route(asked)
  assert.deepEqual(decisions.map((each) => each.candidateId), ['near', 'far'])
  assert.deepEqual(Object.keys(decisions[0]), ['candidateId', 'confidence', 'useLightweight', 'uncertainty'])
  assert.ok(inferenceTimeUs >= 0)
  assert.deepEqual(router.route(asked).decisions, decisions, 'what was ranked before is forgotten')
  assert.deepEqual(router.route({ candidates: [] }).decisions, [])
  const slow = new CandidateRouter()
  slow.add([{ id: 'far', embedding: [0, 1, 0], metadata: { of: 'x' }, created_at: 0, access_count: 1, success_rate: 0.5 }, { id: 'near', embedding: [1, Math.fround(0.1), 0] }])
  const ranked = slow.rank({ embedding: [1, 0, 0], k: 2, confidence_threshold: 0.5 })
  assert.deepEqual(ranked.decisions.map((each) => each.confidence), decisions.map((each) => each.confidence))
  assert.throws(() => router.route({ ...asked, candidates: [{ id: 'short', embedding: [1] }] }), { code: 'CandidateInvalid', field: /candidates\[0\]/ })
  assert.throws(() => router.route({ queryEmbedding: [1] }), { code: 'CandidateInvalid', field: 'candidates' })
  assert.throws(() => router.route({ ...asked, candidates: [far, far] }), { code: 'CandidateInvalid' })
  config.set_confidence_threshold(7)
  assert.throws(() => new CandidateRouter(config).route(asked), { code: 'OptionInvalid' })
})

test('the module for the edge decides as the whole one, and names what it lacks', async () => {
  const small = data('edge.safetensors')
  const asked = [{ role: 'user', content: 'Prove that there are infinitely many primes.' }]
  await init(module)
  const whole = new Router(small).decide(asked)
  await init(edge)
  assert.deepEqual(new Router(small).decide(asked), whole)
  assert.throws(() => new ToolSelector(), { code: 'NotInModule', value: 'tools', remedy: /tiny-dancer\.wasm/ })
  assert.throws(() => new Router(artifact), { code: 'EncoderMissing' })
  assert.throws(() => new Router(artifact, { encoder }), { code: 'NotInModule' })
  await init(module)
})

test('nesting of any depth is answered or refused, and stops nothing', () => {
  const nested = (depth) => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth)
  const asked = (value) => [
    ['router', 'decide', value], ['router', 'decide', '"hello"', `{"allowed":${value}}`],
    ['tools', 'addTools', `[{"name":"x","parameters":${value}}]`], ['agents', 'putAgents', `{"name":"a","metadata":${value}}`],
    ['candidates', 'addCandidates', `[{"id":"a","metadata":${value}}]`], ['candidates', 'rank', `{"where":${value}}`],
  ]
  for (const depth of [250, 257, 100_000]) {
    for (const [made, operation, ...given] of asked(nested(depth))) {
      const instance = new Instance(module)
      instance.call(made, made === 'router' ? data('edge.safetensors') : '')
      try {
        instance.call(operation, ...given)
      } catch (error) {
        assert.notEqual(error.code, 'EngineStopped', `${depth} ${operation}: ${error.message}`)
      }
      assert.equal(instance.stopped, false)
    }
  }
})

test('what JSON would leave out or empty lifts no option and no condition', () => {
  const router = new Router(artifact, { encoder })
  for (const value of [NaN, Infinity, 5n, () => 1, new Set([1])]) {
    assert.throws(() => router.decide('hello', { max_cost: value }), { code: 'OptionInvalid', field: 'max_cost' })
  }
  for (const options of ['cheapest', [], new Map([['pin', 'weak']])]) {
    assert.throws(() => router.decide('hello', options), { code: 'OptionInvalid', field: 'options' })
  }
  assert.equal(router.decide('hello', { pin: 'strong', max_cost: undefined }).model, 'strong')
  const candidates = new CandidateRouter()
  const embedding = new Float32Array([1, 0])
  candidates.add([{ id: 'a', metadata: { user: 'anna' } }], embedding)
  assert.throws(() => candidates.rank({ where: { user: undefined } }, embedding), { code: 'CandidateInvalid', field: 'query.where.user' })
  assert.throws(() => candidates.route({ queryEmbedding: embedding, candidates: [null] }), { code: 'CandidateInvalid', field: 'candidates[0]' })
})

test('a buffer that was given away stops no set', () => {
  const candidates = new CandidateRouter()
  const embedding = new Float32Array([1, 0])
  candidates.add([{ id: 'a' }], embedding)
  const gone = new Float32Array(2)
  structuredClone(gone.buffer, { transfer: [gone.buffer] })
  assert.throws(() => candidates.rank({}, gone), { code: 'CandidateInvalid', field: 'embedding' })
  assert.throws(() => new Router(new Uint8Array(gone.buffer.byteLength)), { code: 'ArtifactInvalid', field: 'artifact' })
  assert.throws(() => new Router(gone.buffer), { code: 'ArtifactInvalid', field: 'artifact' })
  assert.equal(candidates.rank({}, embedding).decisions[0].candidate_id, 'a')
})

test('a route names what is missing, given twice, or takes no part', () => {
  const candidates = new CandidateRouter()
  const embedding = new Float32Array([1, 0])
  const ask = (more, one = {}) => candidates.route({ queryEmbedding: embedding, candidates: [{ id: 'a', embedding, ...one }], ...more })
  for (const request of [undefined, null, 'tea']) assert.throws(() => candidates.route(request), { code: 'RequestInvalid', field: 'request' })
  for (const none of [undefined, null]) assert.throws(() => ask({ queryEmbedding: none }), { code: 'RequestInvalid', field: 'queryEmbedding' })
  for (const wrong of [5, 'ab', [], {}]) assert.throws(() => ask({ queryEmbedding: wrong }), { code: 'CandidateInvalid', field: 'queryEmbedding' })
  assert.throws(() => ask({ queryEmbedding: [1, '0'] }), { code: 'CandidateInvalid', field: 'queryEmbedding[1]', value: 'string' })
  assert.throws(() => ask({}, { createdAt: 1, created_at: 2 }), { code: 'CandidateInvalid', field: 'candidates[0].created_at' })
  const old = ask({ now: 2e9 }, { created_at: 1e9 }).decisions
  assert.deepEqual(old, ask({ now: 2e9 }, { createdAt: 1e9 }).decisions)
  assert.notDeepEqual(old, ask({ now: 2e9 }).decisions, 'both names are read')
  const { decisions, errors } = ask({}, { embedding: [NaN, 1] })
  assert.deepEqual([decisions.length, errors[0].candidateId], [0, 'a'])
  assert.deepEqual(ask({ candidates: [] }).decisions, [])
})

test('what is no text or no object stops nothing', () => {
  const router = new Router(artifact, { encoder })
  for (const wrong of [5, null, { pin: 'weak' }]) {
    assert.throws(() => router.decideJson(wrong), { code: 'RequestInvalid', field: 'request' })
    assert.throws(() => router.decideJson('"hello"', wrong), { code: 'OptionInvalid', field: 'options' })
  }
  for (const make of [() => new Router(artifact, null), () => new CandidateRouter(null), () => new ToolSelector(5), () => new AgentRouter(null)]) {
    assert.throws(make, { code: 'OptionInvalid', field: 'given' })
  }
})
