// The engine's objects. Each has an instance of the module of its own: what stops one leaves the others alone.

import { Instance, TinyDancerError } from './instance.js'

export { TinyDancerError }

/** @type {WebAssembly.Module | undefined} */
let compiled

/** Compiles the module: from where this file is, or from what is given. */
export async function init(source = new URL('tiny-dancer.wasm', import.meta.url)) {
  let given = await source
  if (given instanceof WebAssembly.Module) {
    compiled = given
    return
  }
  if (typeof given === 'string') given = new URL(given, globalThis.location?.href)
  if (given instanceof URL) {
    if (given.protocol === 'file:') given = await (await import('node:fs/promises')).readFile(given)
    else given = await fetch(given)
  }
  if (typeof Response !== 'undefined' && given instanceof Response) {
    if (!given.ok) throw new TinyDancerError('ModuleMissing', 'source', `${given.status} ${given.url}`, 'serve tiny-dancer.wasm there')
    given = await given.arrayBuffer()
  }
  compiled = await WebAssembly.compile(given)
}

const asBytes = (given, field, code) => {
  if (given instanceof Uint8Array) return given
  if (given instanceof ArrayBuffer) return new Uint8Array(given)
  throw new TinyDancerError(code, field, typeof given, 'give its bytes as a Uint8Array or ArrayBuffer')
}

const asJson = (given, field, code = 'RequestInvalid') => {
  let text
  try {
    text = JSON.stringify(given)
  } catch (cause) {
    throw new TinyDancerError(code, field, cause.message, 'give what JSON can say', { cause })
  }
  if (text === undefined) throw new TinyDancerError(code, field, typeof given, 'give what JSON can say')
  return text
}

/** An instance with what it holds, made of the same bytes again where it stopped and nothing was added since. */
class Held {
  #instance
  #make

  constructor(operation, first, second, { encoder } = {}, filled = false) {
    if (compiled === undefined) {
      throw new TinyDancerError('NotInitialised', 'init', 'not awaited', 'await init() before anything is made')
    }
    const bytes = encoder === undefined ? undefined : asBytes(encoder, 'encoder', 'ArtifactInvalid')
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

const options = (given) => (given === undefined ? '' : asJson(given, 'options', 'OptionInvalid'))

/** Requests to models, by an artifact. */
export class Router {
  #held

  constructor(artifact, given = {}) {
    const changes = given.models === undefined ? '' : asJson(given.models, 'models', 'OptionInvalid')
    this.#held = new Held('router', asBytes(artifact, 'artifact', 'ArtifactInvalid'), changes, given)
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
    this.#held = new Held('routes', asBytes(artifact, 'artifact', 'ArtifactInvalid'), '', given)
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
    const learned = given.artifact === undefined ? '' : asBytes(given.artifact, 'artifact', 'ArtifactInvalid')
    this.#held = new Held('tools', learned, '', given, true)
  }

  add(tools) {
    return JSON.parse(this.#held.call('addTools', asJson(tools, 'tools')))
  }

  select(query) {
    return JSON.parse(this.#held.call('select', asJson(query, 'query')))
  }
}

/** Requests to agents. */
export class AgentRouter {
  #held

  constructor(given = {}) {
    const halfLife = given.halfLife === undefined ? '' : asJson(given.halfLife, 'half_life', 'OptionInvalid')
    this.#held = new Held('agents', halfLife, '', {}, true)
  }

  put(agents) {
    this.#held.call('putAgents', asJson(agents, 'agents', 'CandidateInvalid'))
  }

  choose(query = {}) {
    return JSON.parse(this.#held.call('choose', asJson(query, 'query', 'OptionInvalid')))
  }

  observe(state, outcome) {
    const before = state == null ? '' : asJson(state, 'state', 'CandidateInvalid')
    return JSON.parse(this.#held.call('observe', before, asJson(outcome, 'outcome', 'CandidateInvalid')))
  }
}

/** Queries to candidates, best first. */
export class CandidateRouter {
  #held

  constructor(given = {}) {
    const scorer = given.artifact === undefined ? '' : asBytes(given.artifact, 'artifact', 'ArtifactInvalid')
    this.#held = new Held('candidates', scorer, '', given, true)
  }

  add(candidates) {
    this.#held.call('addCandidates', asJson(candidates, 'candidates', 'CandidateInvalid'))
  }

  rank(query) {
    return JSON.parse(this.#held.call('rank', asJson(query, 'query', 'CandidateInvalid')))
  }
}

/** Texts to kinds of tasks, by an artifact. */
export class TaskClassifier {
  #held

  constructor(artifact, given = {}) {
    this.#held = new Held('tasks', asBytes(artifact, 'artifact', 'ArtifactInvalid'), '', given)
  }

  classify(text) {
    return JSON.parse(this.#held.call('classify', asJson({ text }, 'text')))
  }
}
