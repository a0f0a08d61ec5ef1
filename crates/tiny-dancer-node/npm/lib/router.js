// Requests to models, and queries to candidates given with them.

import { ARTIFACT, encoderFor, headerOf, source } from './artifacts.js'
import { candidatesOf, queryOf } from './candidates.js'
import { call, host, inBatches, made } from './engine.js'
import { asJson, bytesOf, checkedJson, isBytes, namesOf, objectOf } from './given.js'
import { TinyDancerError } from './instance.js'
import { embeddingOf, ownBytes, textOf } from './numbers.js'
import { known, listOf, momentOf, optionsOf, present, truthOf } from './options.js'
import { breakerOf, RANKING, thresholdsOf } from './ranking.js'
import { rankedRows } from './rows.js'

/** @import { ArtifactConfig, Bytes, DecideOptions, Decision, RouterConfig, RoutingRequest, RoutingResponse } from './shapes.js' */

/** Names of what a query to candidates may say. */
const ASKED = ['queryEmbedding', 'text', 'candidates', 'embeddings', 'metadata', 'k', 'where', 'diversity', 'now']

/** Requests to models (`decide`), and queries to candidates given with them (`route`). */
export class Router {
  #config
  #thresholds
  #quantised
  #breaker
  /** What `decide` asks; undefined until it is needed where no artifact was given. */
  #models
  /** What `route` asks. */
  #scorer

  /** @param {RouterConfig} [config] */
  constructor(config = {}) {
    known(config, [...ARTIFACT, ...RANKING, 'models'], 'config')
    made()
    const { absolute } = host()
    // What is read later is of the folder that was the present one now.
    this.#config = { ...config, modelPath: absolute(config.modelPath), encoderPath: absolute(config.encoderPath) }
    this.#breaker = breakerOf(config)
    this.#thresholds = thresholdsOf(config)
    this.#quantised = truthOf(config.enableQuantization, 'enableQuantization', false)
    this.#load(source(this.#config, 'modelPath', 'artifact'))
  }

  #load(artifact, isOfCandidates = artifact !== undefined && headerOf(artifact).kind === 'candidates') {
    if (artifact === undefined) {
      if (this.#renamed !== undefined) this.#models = this.#decider()
      this.#scorer = call(() => new (made().Scorer)(undefined, this.#breaker))
    } else if (isOfCandidates) {
      if (this.#renamed !== undefined) {
        throw new TinyDancerError('OptionInvalid', 'models', 'given', 'leave it out: this artifact is of candidates')
      }
      if (this.#scorer === undefined) this.#scorer = call(() => new (made().Scorer)(artifact, this.#breaker))
      else call(() => this.#scorer.reload(artifact))
      this.#models = undefined
    } else {
      this.#models = this.#decider(artifact)
      this.#scorer = undefined
    }
  }

  get #renamed() {
    return this.#config.models ?? undefined
  }

  #decider(artifact = host().artifact()) {
    const changes = this.#renamed === undefined ? '' : checkedJson(this.#renamed, 'models', 'OptionInvalid')
    const encoder = encoderFor(this.#config, artifact)
    if (this.#models === undefined) return call(() => new (made().Router)(artifact, encoder, changes, this.#breaker))
    call(() => this.#models.reload(artifact, encoder, changes))
    return this.#models
  }

  #asked() {
    if (this.#models !== undefined) return this.#models
    if (this.#config.modelPath !== undefined || this.#config.artifact !== undefined) {
      throw new TinyDancerError('OptionInvalid', 'decide', 'an artifact of candidates', 'ask route, or give an artifact of models')
    }
    this.#models = this.#decider()
    return this.#models
  }

  /**
   * Decides which model to call.
   * @param {string | readonly object[] | object | Bytes} request a text, a list of messages or the body of a call, in any
   *   dialect; or JSON of one of these as bytes in UTF-8, read where they lie
   * @param {DecideOptions | null} [options]
   * @returns {Decision}
   */
  decide(request, options) {
    const models = this.#asked()
    const asked = optionsOf(options)
    if (typeof request === 'object' && isBytes(request)) {
      const bytes = ownBytes(bytesOf(request, 'request', 'RequestInvalid'))
      return JSON.parse(call(() => models.decideBytes(bytes, asked)))
    }
    const said = asJson(request, 'request')
    return JSON.parse(call(() => models.decide(said, asked)))
  }

  /**
   * Decides many requests with the same options on other threads, in order.
   * @param {readonly (string | readonly object[] | object | Bytes)[]} requests
   * @param {DecideOptions | null} [options]
   * @returns {Promise<Decision[]>}
   */
  async decideBatch(requests, options) {
    const models = this.#asked()
    const asked = optionsOf(options)
    const said = Array.from(listOf(requests, 'requests', 'RequestInvalid'), (request, row) =>
      isBytes(request) ? textOf(request, `requests[${row}]`) : asJson(request, `requests[${row}]`),
    )
    return inBatches(said, (some) => models.decideBatch(some, asked))
  }

  /**
   * Ranks candidates for a query.
   * @param {RoutingRequest} request
   * @returns {Promise<RoutingResponse>}
   */
  async route(request) {
    if (this.#scorer === undefined) {
      throw new TinyDancerError('OptionInvalid', 'route', 'an artifact of models', 'ask decide, or give an artifact of candidates, or none')
    }
    objectOf(request, 'request', 'RequestInvalid', 'give an object of queryEmbedding and candidates')
    const { queryEmbedding, candidates, embeddings, text, metadata, k, where, diversity, now, ...others } = request
    const [unknown] = Object.keys(others)
    if (unknown !== undefined) {
      throw new TinyDancerError('RequestInvalid', unknown, 'unknown', namesOf('a request has', unknown, ASKED))
    }
    const missing = (given) => given === undefined || given === null
    if (missing(queryEmbedding) && (typeof text !== 'string' || text.trim() === '')) {
      throw new TinyDancerError('RequestInvalid', 'queryEmbedding', 'not given', 'give an embedding, a text, or both')
    }
    const { length } = listOf(candidates, 'candidates', 'CandidateInvalid')
    const asked = missing(queryEmbedding) ? undefined : embeddingOf(queryEmbedding, 'queryEmbedding')
    const plain = [text, metadata, where, diversity].every(missing)
    if (plain && asked !== undefined && !this.#quantised) {
      const response = rankedRows(this.#scorer, this.#thresholds, asked, candidates, embeddings ?? undefined, k ?? length, momentOf(now ?? present()))
      if (response !== undefined) return response
    }
    const query = queryOf({
      ...this.#thresholds,
      // Where there are no candidates there is nothing it could be as wide as.
      embedding: length === 0 ? undefined : asked,
      text,
      metadata,
      k: k ?? Math.min(Math.max(length, 1), 100_000),
      where,
      diversity,
      now,
    })
    const { json, rows } = candidatesOf(candidates, embeddings)
    const begun = performance.now()
    const answer = call(() => this.#scorer.rank(this.#quantised, json, rows, query.json, query.numbers))
    const inferenceTimeUs = (performance.now() - begun) * 1000
    const { decisions, errors, calibrated, level, level_reason } = JSON.parse(answer)
    return {
      decisions: decisions.map(({ candidate_id, confidence, use_lightweight, uncertainty }) => ({
        candidateId: candidate_id,
        confidence,
        useLightweight: use_lightweight,
        uncertainty,
      })),
      inferenceTimeUs,
      errors: errors.map(({ candidate_id, reason }) => ({ candidateId: candidate_id, reason })),
      calibrated,
      ...(level !== undefined && { level, levelReason: level_reason }),
    }
  }

  /**
   * Serves what the file at `modelPath` has now. Where that does not load, what served goes on serving.
   * @returns {Promise<void>}
   */
  async reloadModel() {
    const { modelPath } = this.#config
    if (modelPath === undefined || modelPath === null) {
      throw new TinyDancerError('OptionInvalid', 'modelPath', 'not given', 'make the router with modelPath to reload it')
    }
    // Of the kind that serves: another one would answer none of the calls that this one does.
    this.#load(source({ modelPath }, 'modelPath', 'artifact'), this.#scorer !== undefined)
  }

  /**
   * Whether the artifact is asked: true while its breaker is closed, false while it is open or lets single calls through,
   * and null where there is none (`enableCircuitBreaker` is false, or the engine is the WebAssembly module, in which a
   * fault ends the call it happens in and the next one is asked of a fresh instance). While it is false, stated rules
   * answer `decide` and the combination without training answers `route`.
   * @returns {boolean | null}
   */
  circuitBreakerStatus() {
    let closed = null
    for (const asked of [this.#models, this.#scorer]) {
      if (asked === undefined) continue
      const { breaker } = JSON.parse(call(() => asked.status()))
      if (breaker !== null) closed = (closed ?? true) && breaker.state === 'closed'
    }
    return closed
  }
}
