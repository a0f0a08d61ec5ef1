// The engine's objects. Each has an instance of the module of its own: what stops one leaves the others alone.

import { asJson, bytesOf, checkedJson, kindOf, knownOnly, objectOf } from './given.js'
import { Instance, moduleOf, TinyDancerError } from './instance.js'

export { TinyDancerError }

/** @type {WebAssembly.Module | undefined} */
let compiled

/** Whether the host runs modules with simd128: the smallest one that has an instruction of it. */
const simd = WebAssembly.validate(new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]))

/**
 * Where the module is that only routes requests, by artifacts that name no encoder: half of the whole one, and twice as fast;
 * with simd128 where the host has it.
 */
export const edge = beside(simd ? 'tiny-dancer-edge.wasm' : 'tiny-dancer-edge-scalar.wasm')

/** Where a file beside this one is; nowhere where scripts have no address, as in a Worker. */
function beside(name) {
  return URL.canParse(name, import.meta.url) ? new URL(name, import.meta.url) : undefined
}

/** Compiles the module: the whole one beside this file, or what is given, as `edge`. */
export async function init(source = simd ? beside('tiny-dancer.wasm') : edge) {
  compiled = await moduleOf(source, async (url) => (url.protocol === 'file:' ? (await import('node:fs/promises')).readFile(url) : fetch(url)))
}

/** An instance with what it holds, made of the same bytes again where it stopped and nothing was added since. */
class Held {
  #instance
  #make

  constructor(operation, first, second, { encoder } = {}, filled = false) {
    if (compiled === undefined) {
      throw new TinyDancerError('NotInitialised', 'init', 'not awaited', 'await init() before anything is made')
    }
    const bytes = encoder === undefined ? undefined : bytesOf(encoder, 'encoder', 'ArtifactInvalid')
    const make = () => {
      const instance = new Instance(compiled)
      if (bytes !== undefined) instance.call('encoder', bytes)
      instance.call(operation, first, second)
      return instance
    }
    this.#instance = make()
    // What was put in since is lost with the instance: to go on without it would give other answers.
    this.#make = filled ? undefined : make
  }

  call(operation, first, second) {
    if (this.#instance.stopped && this.#make !== undefined) this.#instance = this.#make()
    return this.#instance.call(operation, first, second)
  }

  get memory() {
    return this.#instance.memory
  }
}

/** Numbers, of which there have to be some: a buffer that was transferred away has none left. */
const numbersOf = (given, field) => {
  const refused = (place, value) => new TinyDancerError('CandidateInvalid', place, value, 'give a Float32Array, or a list of numbers')
  if (!Array.isArray(given) && (!ArrayBuffer.isView(given) || given instanceof DataView)) throw refused(field, kindOf(given))
  if (given.length === 0) throw refused(field, '0 numbers')
  if (given instanceof Float32Array) return given
  const place = given.findIndex((value) => typeof value !== 'number')
  if (place >= 0) throw refused(`${field}[${place}]`, kindOf(given[place]))
  return Float32Array.from(given)
}

/** Numbers as the module reads them: the bytes of a Float32Array, where they lie. */
const ofNumbers = (given, field) => {
  if (given === undefined) return ''
  const numbers = numbersOf(given, field)
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)
}

const textOf = (given, field, code) => {
  if (typeof given !== 'string') throw new TinyDancerError(code, field, kindOf(given), 'give JSON as text')
  return given
}

/** What an object is made with: these options and no others. */
const madeWith = (given, ...names) => knownOnly(given, names, 'given')

/** What a `CandidateRouter` is made with, set one by one. */
export class RouterConfig {
  thresholds = {}
  artifact

  set_confidence_threshold(threshold) {
    this.thresholds.confidence = threshold
  }

  set_max_uncertainty(uncertainty) {
    this.thresholds.uncertainty = uncertainty
  }

  set_artifact(artifact) {
    this.artifact = artifact
  }
}

const options = (given) =>
  given === undefined || given === null ? '' : checkedJson(objectOf(given, 'options', 'OptionInvalid', 'give an object of options by their names'), '', 'OptionInvalid')

/** Requests to models, by an artifact. */
export class Router {
  #held

  constructor(artifact, given = {}) {
    const changes = madeWith(given, 'encoder', 'models').models === undefined ? '' : checkedJson(given.models, 'models', 'OptionInvalid')
    this.#held = new Held('router', bytesOf(artifact, 'artifact', 'ArtifactInvalid'), changes, given)
  }

  decide(request, asked) {
    return JSON.parse(this.#held.call('decide', asJson(request, 'request'), options(asked)))
  }

  decideJson(request, asked = '') {
    return this.#held.call('decide', textOf(request, 'request', 'RequestInvalid'), textOf(asked, 'options', 'OptionInvalid'))
  }
}

/** Requests to routes, by an artifact. */
export class SemanticRouter {
  #held

  constructor(artifact, given = {}) {
    this.#held = new Held('routes', bytesOf(artifact, 'artifact', 'ArtifactInvalid'), '', madeWith(given, 'encoder'))
  }

  route(request, asked) {
    const said = typeof request === 'string' ? { text: request } : request
    return JSON.parse(this.#held.call('route', asJson(said, 'request'), options(asked)))
  }
}

/** Requests to the tools they need. */
export class ToolSelector {
  #held

  constructor(given = {}) {
    const learned = madeWith(given, 'artifact', 'encoder').artifact === undefined ? '' : bytesOf(given.artifact, 'artifact', 'ArtifactInvalid')
    this.#held = new Held('tools', learned, '', given, true)
  }

  add(tools) {
    return JSON.parse(this.#held.call('addTools', asJson(tools, 'tools')))
  }

  select(query) {
    return JSON.parse(this.#held.call('select', checkedJson(query, 'query', 'RequestInvalid')))
  }
}

/** Requests to agents. */
export class AgentRouter {
  #held

  constructor(given = {}) {
    const halfLife = madeWith(given, 'halfLife').halfLife === undefined ? '' : checkedJson(given.halfLife, 'half_life', 'OptionInvalid')
    this.#held = new Held('agents', halfLife, '', {}, true)
  }

  put(agents) {
    this.#held.call('putAgents', checkedJson(agents, 'agents', 'CandidateInvalid'))
  }

  choose(query = {}) {
    return JSON.parse(this.#held.call('choose', checkedJson(query, 'query', 'OptionInvalid')))
  }

  observe(state, outcome) {
    const before = state == null ? '' : checkedJson(state, 'state', 'CandidateInvalid')
    return JSON.parse(this.#held.call('observe', before, checkedJson(outcome, 'outcome', 'CandidateInvalid')))
  }
}

const isMissing = (given) => given === undefined || given === null

const NAMES = new Map([['createdAt', 'created_at'], ['accessCount', 'access_count'], ['successRate', 'success_rate']])

/** Queries to candidates, best first. */
export class CandidateRouter {
  #held
  #thresholds

  constructor(given = {}) {
    if (given instanceof RouterConfig) {
      const { confidence, uncertainty } = given.thresholds
      this.#thresholds = { confidence_threshold: confidence, max_uncertainty: uncertainty }
    } else {
      const { confidenceThreshold, maxUncertainty } = madeWith(given, 'artifact', 'encoder', 'confidenceThreshold', 'maxUncertainty')
      this.#thresholds = { confidence_threshold: confidenceThreshold, max_uncertainty: maxUncertainty }
    }
    const scorer = given.artifact === undefined ? '' : bytesOf(given.artifact, 'artifact', 'ArtifactInvalid')
    this.#held = new Held('candidates', scorer, '', given, true)
  }

  add(candidates, embeddings) {
    this.#held.call('addCandidates', checkedJson(candidates, 'candidates', 'CandidateInvalid'), ofNumbers(embeddings, 'embeddings'))
  }

  rank(query, embedding) {
    return JSON.parse(this.#held.call('rank', checkedJson(query, 'query', 'CandidateInvalid'), ofNumbers(embedding, 'embedding')))
  }

  /** Ranks these candidates and no others; embeddings go as they are. */
  route(request) {
    const begun = performance.now()
    const given = objectOf(request, 'request', 'RequestInvalid', 'give an object of queryEmbedding and candidates')
    const { queryEmbedding, candidates, ...query } = given
    if (!Array.isArray(candidates)) {
      throw new TinyDancerError('CandidateInvalid', 'candidates', kindOf(candidates), 'give a list')
    }
    const asked = isMissing(queryEmbedding) ? undefined : numbersOf(queryEmbedding, 'queryEmbedding')
    if (candidates.length > 0 && asked === undefined && (typeof query.text !== 'string' || query.text.trim() === '')) {
      throw new TinyDancerError('RequestInvalid', 'queryEmbedding', 'not given', 'give an embedding, a text, or both')
    }
    const width = asked?.length ?? 0
    const rows = new Float32Array(width * candidates.length)
    const plain = candidates.map((candidate, row) => {
      const at = `candidates[${row}]`
      const { embedding, ...rest } = objectOf(candidate, at, 'CandidateInvalid', 'give an object')
      const numbers = isMissing(embedding) ? [] : numbersOf(embedding, `${at}.embedding`)
      if (numbers.length !== width) {
        throw new TinyDancerError('CandidateInvalid', `${at}.embedding`, `${numbers.length} numbers`, `give ${width} numbers, as the query has`)
      }
      rows.set(numbers, row * width)
      const own = {}
      for (const [name, value] of Object.entries(rest)) {
        if (value === undefined) continue
        const moved = NAMES.get(name) ?? name
        if (moved in own) throw new TinyDancerError('CandidateInvalid', `${at}.${moved}`, 'there twice', 'give it once')
        own[moved] = value
      }
      return own
    })
    this.#held.call('clearCandidates')
    this.add(plain, rows.length > 0 ? rows : undefined)
    // Where there are no candidates there is nothing the query could be as wide as.
    const ranking = this.rank({ k: Math.max(1, candidates.length), ...this.#thresholds, ...query }, rows.length > 0 ? asked : undefined)
    return {
      decisions: ranking.decisions.map((each) => ({
        candidateId: each.candidate_id,
        confidence: each.confidence,
        useLightweight: each.use_lightweight,
        uncertainty: each.uncertainty,
      })),
      inferenceTimeUs: Math.round((performance.now() - begun) * 1000),
      errors: ranking.errors.map(({ candidate_id, reason }) => ({ candidateId: candidate_id, reason })),
    }
  }
}

/** Texts to kinds of tasks, by an artifact. */
export class TaskClassifier {
  #held

  constructor(artifact, given = {}) {
    this.#held = new Held('tasks', bytesOf(artifact, 'artifact', 'ArtifactInvalid'), '', madeWith(given, 'encoder'))
  }

  classify(text) {
    return JSON.parse(this.#held.call('classify', asJson({ text }, 'text')))
  }
}
