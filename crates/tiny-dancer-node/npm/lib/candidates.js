// Candidates and queries as JSON, and their embeddings beside it.

import { asJson, check, checkedJson, kindOf, objectOf } from './given.js'
import { TinyDancerError } from './instance.js'
import { embeddingOf, isFloats, ownBytes } from './numbers.js'
import { listOf, momentOf, present } from './options.js'
import { space } from './spaces.js'

/** Properties as an object; the field's users give their JSON. */
function metadataOf(given, field) {
  if (typeof given !== 'string') return given
  let read
  try {
    read = JSON.parse(given)
  } catch (cause) {
    throw new TinyDancerError('CandidateInvalid', field, cause.message, 'give an object, or its JSON as text', { cause })
  }
  return objectOf(read, field, 'CandidateInvalid', 'give an object, or its JSON as text')
}

const NAMES = new Map([
  ['createdAt', 'created_at'],
  ['accessCount', 'access_count'],
  ['successRate', 'success_rate'],
  ['expiresAt', 'expires_at'],
])

const gathered = space(Float32Array)

/**
 * Candidates as the JSON of all but their embeddings, these as one matrix, and their ids.
 * @returns {{ json: string, rows: Float32Array | undefined, ids: string[] }}
 */
export function candidatesOf(given, matrix) {
  listOf(given, 'candidates', 'CandidateInvalid')
  let rows, width, taken
  if (matrix !== undefined && matrix !== null) {
    if (!isFloats(matrix)) {
      throw new TinyDancerError('CandidateInvalid', 'embeddings', kindOf(matrix), 'give a Float32Array of one row a candidate')
    }
    if (matrix.length === 0 && given.length > 0) {
      throw new TinyDancerError('CandidateInvalid', 'embeddings', `0 numbers for ${given.length} candidates`, 'give one row of as many numbers for each candidate')
    }
    rows = matrix.length === 0 ? matrix : ownBytes(matrix)
  }
  const plain = new Array(given.length)
  for (let place = 0; place < given.length; place++) {
    const candidate = given[place]
    const at = `candidates[${place}]`
    try {
      objectOf(candidate, at, 'CandidateInvalid', 'give an object')
      const own = {}
      for (const name of Object.keys(candidate)) {
        const value = candidate[name]
        if (value === undefined || value === null) continue
        if (name === 'embedding') {
          if (matrix !== undefined && matrix !== null) {
            throw new TinyDancerError('CandidateInvalid', `${at}.embedding`, 'given beside embeddings', 'give one of the two')
          }
          const embedding = embeddingOf(value, `${at}.embedding`)
          if (width === undefined) {
            width = embedding.length
            const size = width * given.length
            taken = gathered.take(size)
            rows = taken.subarray(0, size)
            // Those without one count as unlike everything.
            rows.fill(0)
          }
          if (embedding.length !== width) {
            throw new TinyDancerError('CandidateInvalid', `${at}.embedding`, `${embedding.length} numbers`, `give ${width} numbers`)
          }
          rows.set(embedding, place * width)
        } else if (name === 'metadata') {
          own.metadata = metadataOf(value, `${at}.metadata`)
          check(own.metadata, `${at}.metadata`, 'CandidateInvalid')
        } else {
          const moved = NAMES.get(name) ?? name
          if (moved in own) throw new TinyDancerError('CandidateInvalid', `${at}.${moved}`, 'there twice', 'give it once')
          const read = momentOf(value)
          if (typeof read !== 'string') check(read, `${at}.${moved}`, 'CandidateInvalid')
          // An id may say itself what it is in JSON, as those of databases do; it is given back as that.
          own[moved] = moved === 'id' && typeof read === 'object' ? JSON.parse(asJson(read, `${at}.id`, 'CandidateInvalid')) : read
        }
      }
      plain[place] = own
    } catch (cause) {
      if (cause instanceof TinyDancerError) throw cause
      // A getter of the caller's.
      throw new TinyDancerError('CandidateInvalid', at, cause?.message ?? String(cause), 'give what can be read', { cause })
    }
  }
  const json = asJson(plain, 'candidates', 'CandidateInvalid')
  if (taken !== undefined) gathered.keep(taken)
  return { json, rows, ids: plain.map(({ id }) => id) }
}

/** A query as its JSON but for its embedding. */
export function queryOf(given) {
  const { embedding, metadata, now, ...rest } = given
  const plain = { ...rest, now: now === undefined || now === null ? present() : momentOf(now) }
  if (metadata !== undefined && metadata !== null) plain.metadata = metadataOf(metadata, 'query.metadata')
  const numbers = embedding === undefined || embedding === null ? undefined : embeddingOf(embedding, 'query.embedding')
  return { json: checkedJson(plain, 'query', 'CandidateInvalid'), numbers }
}
