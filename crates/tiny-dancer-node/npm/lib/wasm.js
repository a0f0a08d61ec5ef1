// The classes of the native module over instances of the WebAssembly module: the same names, arguments and answers. Each
// object has an instance of its own, so that what stops one leaves the others alone.

import { Instance, TinyDancerError } from './instance.js'

const bytesOf = (numbers) =>
  numbers === undefined ? '' : new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)

/** @param {WebAssembly.Module} module */
export function engineOf(module) {
  /** An instance with what it holds, made of the same bytes again where it stopped and nothing was added since. */
  class Held {
    #make
    #instance

    constructor(encoder, operation, first = '', second = '', filled = false) {
      this.#make = () => {
        const instance = new Instance(module)
        if (encoder !== undefined) instance.call('encoder', encoder.bytes)
        instance.call(operation, first, second)
        return instance
      }
      this.#instance = this.#make()
      // What was put in since is lost with the instance: to go on without it would give other answers.
      if (filled) this.#make = undefined
    }

    call(operation, first, second) {
      if (this.#instance.stopped && this.#make !== undefined) this.#instance = this.#make()
      return this.#instance.call(operation, first, second)
    }
  }

  /** Answers requests in turn, and lets others have their turn now and then; together they are one JSON list. */
  async function batch(requests, answer) {
    const answers = []
    for (const [row, request] of requests.entries()) {
      if (row % 64 === 63) await new Promise((resolve) => setTimeout(resolve))
      try {
        answers.push(answer(request))
      } catch (error) {
        if (error.code === 'EngineStopped') throw error
        throw new TinyDancerError(error.code, `requests[${row}].${error.field}`, error.value, error.remedy)
      }
    }
    return `[${answers}]`
  }

  class Encoder {
    // Each object that is made with it reads it into its own instance, and says if it is none.
    constructor(bytes) {
      this.bytes = bytes
    }
  }

  /** There is no breaker: a fault ends its instance and the call, and the next one is asked of a fresh instance. */
  const status = () => '{"breaker":null}'

  class Router {
    #held
    status = status
    constructor(artifact, encoder, changes) {
      this.reload(artifact, encoder, changes)
    }
    reload(artifact, encoder, changes) {
      this.#held = new Held(encoder, 'router', artifact, changes)
    }
    decide(request, options) {
      return this.#held.call('decide', request, options)
    }
    decideBytes(request, options) {
      return this.#held.call('decide', request, options)
    }
    decideBatch(requests, options) {
      return batch(requests, (request) => this.decide(request, options))
    }
  }

  class Scorer {
    #held
    status = status
    constructor(artifact = '') {
      this.reload(artifact)
    }
    reload(artifact) {
      const held = new Held(undefined, 'candidates', artifact)
      this.artifact = artifact
      this.#held = new Map([[false, held]])
    }
    #of(quantised) {
      const held = this.#held.get(quantised) ?? new Held(undefined, 'candidates', this.artifact, quantised ? 'quantised' : '')
      this.#held.set(quantised, held)
      return held
    }
    rank(quantised, candidates, embeddings, query, embedding) {
      const held = this.#of(quantised)
      held.call('clearCandidates')
      held.call('addCandidates', candidates, bytesOf(embeddings))
      return held.call('rank', query, bytesOf(embedding))
    }
  }

  class Candidates {
    #held
    constructor(scorer, encoder, quantised) {
      this.#held = new Held(encoder, 'candidates', scorer.artifact, quantised ? 'quantised' : '', true)
    }
    add(candidates, embeddings) {
      this.#held.call('addCandidates', candidates, bytesOf(embeddings))
    }
    rank(query, embedding, features) {
      const answer = this.#held.call('rank', query, bytesOf(embedding))
      if (features) return answer
      return JSON.stringify(JSON.parse(answer), (name, value) => (name === 'features' ? undefined : value))
    }
    rankBatch(queries, features) {
      return batch(queries, (query) => this.rank(query, undefined, features))
    }
  }

  class Tools {
    #held
    constructor(learned, encoder) {
      this.#held = new Held(encoder, 'tools', learned, '', true)
    }
    add(tools) {
      return JSON.parse(this.#held.call('addTools', tools))
    }
    select(query) {
      return this.#held.call('select', query)
    }
  }

  class Agents {
    #held
    constructor(halfLife) {
      this.#held = new Held(undefined, 'agents', halfLife === undefined ? '' : String(halfLife), '', true)
    }
    put(agents) {
      this.#held.call('putAgents', agents)
    }
    choose(query) {
      return this.#held.call('choose', query)
    }
    observe(state, outcome) {
      return this.#held.call('observe', state, outcome)
    }
  }

  class Routes {
    #held
    constructor(artifact, encoder) {
      this.#held = new Held(encoder, 'routes', artifact)
    }
    route(request, options) {
      return this.#held.call('route', request, options)
    }
    routeBatch(requests, options) {
      return batch(requests, (request) => this.route(request, options))
    }
  }

  class Tasks {
    #held
    constructor(artifact, encoder) {
      this.#held = new Held(encoder, 'tasks', artifact)
    }
    classify(request) {
      return this.#held.call('classify', request)
    }
    classifyBatch(requests) {
      return batch(requests, (request) => this.classify(request))
    }
  }

  return { Encoder, Router, Scorer, Candidates, Tools, Agents, Routes, Tasks }
}
