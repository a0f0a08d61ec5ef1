// Queries to candidates that stay.

import { ARTIFACT, encoderFor, source } from './artifacts.js'
import { candidatesOf, queryOf } from './candidates.js'
import { call, inBatches, made } from './engine.js'
import { check, checkedJson, objectOf } from './given.js'
import { embeddingOf } from './numbers.js'
import { known, listOf, present, truthOf } from './options.js'
import { breakerOf, RANKING, thresholdsOf } from './ranking.js'
import { nearestRows } from './rows.js'

/** @import { ArtifactConfig, Candidate, CandidateQuery, Embedding, Ranking, RankingConfig } from './shapes.js' */

/** Queries to candidates that stay: made once, asked often. */
export class CandidateRouter {
  #candidates
  #thresholds
  /** Of the candidates, by their rows. */
  #ids = []

  /**
   * `artifact`: a trained scorer; none is the combination without training. With an encoder, texts of candidates without
   * embeddings are encoded.
   * @param {ArtifactConfig & RankingConfig} [config]
   */
  constructor(config = {}) {
    known(config, [...ARTIFACT, ...RANKING], 'config')
    made()
    this.#thresholds = thresholdsOf(config)
    const artifact = source(config, 'modelPath', 'artifact')
    const quantised = truthOf(config.enableQuantization, 'enableQuantization', false)
    const encoder = encoderFor(config, undefined)
    this.#candidates = call(() => new (made().Candidates)(new (made().Scorer)(artifact, breakerOf(config)), encoder, quantised))
  }

  /**
   * Adds candidates, all or none.
   * @param {readonly Candidate[]} candidates
   * @param {Float32Array} [embeddings] of all of them, row after row, in place of `embedding` of each
   * @returns {void}
   */
  add(candidates, embeddings) {
    const { json, rows, ids } = candidatesOf(candidates, embeddings)
    call(() => this.#candidates.add(json, rows))
    for (const id of ids) this.#ids.push(id)
  }

  /**
   * Ranks the candidates.
   * @param {CandidateQuery} query
   * @returns {Ranking}
   */
  rank(query) {
    const { json, numbers } = queryOf({ ...this.#thresholds, ...objectOf(query, 'query', 'CandidateInvalid', 'give an object') })
    return JSON.parse(call(() => this.#candidates.rank(json, numbers, true)))
  }

  /**
   * Ids and confidences of the `k` best for an embedding, and nothing else: the fastest way to ask.
   * @param {Embedding} embedding
   * @param {number} [k]
   * @returns {{ candidate_id: string, score: number, confidence: number, uncertainty: number, use_lightweight: boolean, in_prediction_set: boolean }[]}
   */
  nearest(embedding, k = 5) {
    const numbers = embeddingOf(embedding, 'embedding')
    const found = nearestRows(this.#candidates, this.#thresholds, numbers, this.#ids, k)
    if (found !== undefined) return found
    const json = checkedJson({ ...this.#thresholds, k, now: present() }, '', 'OptionInvalid')
    return JSON.parse(call(() => this.#candidates.rank(json, numbers, false))).decisions
  }

  /**
   * Ranks for many queries on another thread, in order.
   * @param {readonly CandidateQuery[]} queries
   * @returns {Promise<Ranking[]>}
   */
  async rankBatch(queries) {
    const said = Array.from(listOf(queries, 'requests', 'CandidateInvalid'), (query) => {
      const given = objectOf(query, 'query', 'CandidateInvalid', 'give an object')
      const { json, numbers } = queryOf({ ...this.#thresholds, ...given })
      if (numbers === undefined) return json
      check(Array.from(numbers), 'query.embedding', 'CandidateInvalid')
      return `${json.slice(0, -1)},"embedding":[${numbers}]}`
    })
    return inBatches(said, (some) => this.#candidates.rankBatch(some, true))
  }
}
