// The engine's objects. Each has an instance of the module of its own: what stops one leaves the others alone.

import { asJson, bytesOf, checkedJson, objectOf } from './given.js'
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
  if (source === undefined) {
    throw new TinyDancerError('ModuleMissing', 'source', 'undefined', 'import the module here, and give it: nothing lies beside a script without address')
  }
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

/** Numbers as the module reads them: the bytes of a Float32Array, where they lie. */
const ofNumbers = (given) => {
  if (given === undefined) return ''
  const numbers = given instanceof Float32Array ? given : Float32Array.from(given)
  // None are left in a buffer that was transferred away; and none at all would be a question without an embedding.
  if (numbers.length === 0) throw new TinyDancerError('CandidateInvalid', 'embedding', '0 numbers', 'give at least one number')
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)
}

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
    const changes = given.models === undefined ? '' : checkedJson(given.models, 'models', 'OptionInvalid')
    this.#held = new Held('router', bytesOf(artifact, 'artifact', 'ArtifactInvalid'), changes, given)
  }

  decide(request, asked) {
    return JSON.parse(this.#held.call('decide', asJson(request, 'request'), options(asked)))
  }

  decideJson(request, asked = '') {
    return this.#held.call('decide', request, asked)
  }
}

/** Requests to routes, by an artifact. */
export class SemanticRouter {
  #held

  constructor(artifact, given = {}) {
    this.#held = new Held('routes', bytesOf(artifact, 'artifact', 'ArtifactInvalid'), '', given)
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
    const learned = given.artifact === undefined ? '' : bytesOf(given.artifact, 'artifact', 'ArtifactInvalid')
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
    const halfLife = given.halfLife === undefined ? '' : checkedJson(given.halfLife, 'half_life', 'OptionInvalid')
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

/** Queries to candidates, best first. */
export class CandidateRouter {
  #held
  #thresholds

  constructor(given = {}) {
    const { confidence, uncertainty } = given instanceof RouterConfig ? given.thresholds : {}
    this.#thresholds = {
      confidence_threshold: confidence ?? given.confidenceThreshold,
      max_uncertainty: uncertainty ?? given.maxUncertainty,
    }
    const scorer = given.artifact === undefined ? '' : bytesOf(given.artifact, 'artifact', 'ArtifactInvalid')
    this.#held = new Held('candidates', scorer, '', given, true)
  }

  add(candidates, embeddings) {
    this.#held.call('addCandidates', checkedJson(candidates, 'candidates', 'CandidateInvalid'), ofNumbers(embeddings))
  }

  rank(query, embedding) {
    return JSON.parse(this.#held.call('rank', checkedJson(query, 'query', 'CandidateInvalid'), ofNumbers(embedding)))
  }

  /** Ranks these candidates and no others; embeddings go as they are. */
  route({ queryEmbedding, candidates, ...query }) {
    const begun = performance.now()
    if (!Array.isArray(candidates)) {
      throw new TinyDancerError('CandidateInvalid', 'candidates', typeof candidates, 'give a list')
    }
    const width = queryEmbedding?.length ?? 0
    const rows = new Float32Array(width * candidates.length)
    const plain = candidates.map((candidate, row) => {
      const { embedding, createdAt, accessCount, successRate, ...rest } = objectOf(candidate, `candidates[${row}]`, 'CandidateInvalid', 'give an object')
      if ((embedding?.length ?? 0) !== width) {
        const remedy = `give ${width} numbers, as the query has`
        throw new TinyDancerError('CandidateInvalid', `candidates[${row}].embedding`, `${embedding?.length ?? 0} numbers`, remedy)
      }
      if (width > 0) rows.set(embedding, row * width)
      return { ...rest, created_at: createdAt, access_count: accessCount, success_rate: successRate }
    })
    this.#held.call('clearCandidates')
    this.add(plain, width > 0 ? rows : undefined)
    const ranking = this.rank({ k: Math.max(1, candidates.length), ...this.#thresholds, ...query }, width > 0 ? Float32Array.from(queryEmbedding) : undefined)
    return {
      decisions: ranking.decisions.map((each) => ({
        candidateId: each.candidate_id,
        confidence: each.confidence,
        useLightweight: each.use_lightweight,
        uncertainty: each.uncertainty,
      })),
      inferenceTimeUs: Math.round((performance.now() - begun) * 1000),
    }
  }
}

/** Texts to kinds of tasks, by an artifact. */
export class TaskClassifier {
  #held

  constructor(artifact, given = {}) {
    this.#held = new Held('tasks', bytesOf(artifact, 'artifact', 'ArtifactInvalid'), '', given)
  }

  classify(text) {
    return JSON.parse(this.#held.call('classify', asJson({ text }, 'text')))
  }
}
