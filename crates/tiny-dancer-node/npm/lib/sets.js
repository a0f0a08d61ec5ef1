// Requests to tools, to agents and to kinds of tasks.

import { ARTIFACT, artifactOf, encoderFor, source } from './artifacts.js'
import { call, inBatches, made } from './engine.js'
import { asJson, checkedJson, kindOf } from './given.js'
import { TinyDancerError } from './instance.js'
import { atPresent, known, listOf } from './options.js'

/** @import { AgentChoice, ArtifactConfig, Selection } from './shapes.js' */

/** Requests to the tools they need. */
export class ToolSelector {
  #tools

  /**
   * `artifact`: what was learned of use. With an encoder, meaning counts beside words.
   * @param {ArtifactConfig} [config]
   */
  constructor(config = {}) {
    known(config, ARTIFACT, 'config')
    made()
    const learned = source(config, 'modelPath', 'artifact')
    const encoder = encoderFor(config, learned)
    this.#tools = call(() => new (made().Tools)(learned, encoder))
  }

  /**
   * Adds tools in any dialect; gives their ids.
   * @param {object} tools
   * @returns {string[]}
   */
  add(tools) {
    const said = asJson(tools, 'tools')
    return call(() => this.#tools.add(said))
  }

  /**
   * @param {object} query `text` or `messages`, `k`, `relevance_threshold`, `preserve_count`, `namespaces`, `keep`, `tool_choice`
   * @returns {Selection}
   */
  select(query) {
    const said = checkedJson(query, 'query', 'RequestInvalid')
    return JSON.parse(call(() => this.#tools.select(said)))
  }
}

/** Requests to agents. */
export class AgentRouter {
  #agents

  /** @param {{ halfLife?: number | null }} [config] `halfLife` of what is observed, in seconds */
  constructor(config = {}) {
    known(config, ['halfLife'], 'config')
    made()
    const halfLife = config.halfLife ?? undefined
    if (halfLife !== undefined && (typeof halfLife !== 'number' || !(halfLife > 0 && halfLife < Infinity))) {
      throw new TinyDancerError('OptionInvalid', 'halfLife', typeof halfLife === 'number' ? String(halfLife) : kindOf(halfLife), 'give seconds above 0, or nothing')
    }
    this.#agents = call(() => new (made().Agents)(halfLife))
  }

  /**
   * An agent or a list of them, all or none; one of a known name is replaced.
   * @param {object} agents
   * @returns {void}
   */
  put(agents) {
    const said = checkedJson(agents, 'agents', 'CandidateInvalid')
    call(() => this.#agents.put(said))
  }

  /**
   * @param {object} [query]
   * @returns {AgentChoice & Record<string, any>}
   */
  choose(query = {}) {
    const said = checkedJson(atPresent(query, 'query'), 'query', 'OptionInvalid')
    return JSON.parse(call(() => this.#agents.choose(said)))
  }

  /**
   * The state of an agent after an outcome; put the agent with it.
   * @param {object | null | undefined} state
   * @param {object} outcome
   * @returns {Record<string, any>}
   */
  observe(state, outcome) {
    const before = state === undefined || state === null ? '' : checkedJson(state, 'state', 'CandidateInvalid')
    const said = checkedJson(outcome, 'outcome', 'CandidateInvalid')
    return JSON.parse(call(() => this.#agents.observe(before, said)))
  }
}

/** Texts to kinds of tasks, by an artifact. */
export class TaskClassifier {
  #tasks

  /** @param {ArtifactConfig} config */
  constructor(config) {
    known(config, ARTIFACT, 'config')
    made()
    const artifact = artifactOf(config, 'tasks.safetensors of the package tiny-dancer-encoder')
    const encoder = encoderFor(config, artifact)
    this.#tasks = call(() => new (made().Tasks)(artifact, encoder))
  }

  /**
   * @param {string} text
   * @returns {Record<string, any>}
   */
  classify(text) {
    const said = asJson({ text }, 'text')
    return JSON.parse(call(() => this.#tasks.classify(said)))
  }

  /**
   * Classifies many on other threads, in order.
   * @param {readonly string[]} texts
   * @returns {Promise<Record<string, any>[]>}
   */
  async classifyBatch(texts) {
    const said = Array.from(listOf(texts, 'requests', 'RequestInvalid'), (text, row) => asJson({ text }, `requests[${row}]`))
    return inBatches(said, (some) => this.#tasks.classifyBatch(some))
  }
}
