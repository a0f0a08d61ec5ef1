// Candidates of which nothing counts but numbers, ranked without JSON; what has more to say is left to it.

import { isObject } from './given.js'
import { isFloats, ownBytes } from './numbers.js'
import { momentOf, present } from './options.js'
import { KEPT, space } from './spaces.js'

/** @import { RoutingResponse } from './shapes.js' */

/** Most candidates one answer gives. */
const MOST = 100_000
/** Below so many candidates this is the faster way. */
const FEW = 1024
/** Numbers of a candidate as given, property after property: when it was made, uses, the share that helped. */
const GIVEN = 3
/** And as answered: row, confidence, uncertainty, whether a light model will do (1) and the score is the last one's (2). */
const ANSWERED = 4

/** Of a candidate that stays, as found: row, score, confidence, uncertainty, whether a light model will do (1) and it is in the set (2). */
const FOUND = 5

const embeddingRows = space(Float32Array)
const givenNumbers = space(Float64Array)
const answeredNumbers = space(Float64Array)

/** Ids of which JavaScript's order is the engine's, by UTF-8. */
const ORDERLY = /^[^\ud800-\uffff]+$/
/** Half of a character, which JSON cannot say. */
const HALF = /[\ud800-\udfff]/u

/** Spellings of the three numbers, in their order. */
const SPELLINGS = [['createdAt', 'created_at'], ['accessCount', 'access_count'], ['successRate', 'success_rate']]
const NAMES = new Set(['id', 'embedding', 'metadata', ...SPELLINGS.flat()])

/** Which properties candidates have that have these keys; undefined where they have others, or a number in both spellings. */
function shapeOf(keys) {
  if (!keys.every((key) => NAMES.has(key))) return undefined
  const has = (name) => keys.includes(name)
  if (SPELLINGS.some((both) => both.every(has))) return undefined
  const [[created, created_], [uses, uses_], [rate, rate_]] = SPELLINGS.map((both) => both.map(has))
  return { id: has('id'), embedding: has('embedding'), metadata: has('metadata'), created, created_, uses, uses_, rate, rate_ }
}

/** What the last candidate had: the next one most often has the same. */
let last = { keys: [], shape: shapeOf([]) }

function sameAs(one, other) {
  if (one.length !== other.length) return false
  for (let place = 0; place < one.length; place++) if (one[place] !== other[place]) return false
  return true
}

/** Whether properties, as an object or its JSON, are texts, numbers and truth values, of which nothing can be wrong. */
function isPlain(given) {
  let read = given
  if (typeof given === 'string') {
    try {
      read = JSON.parse(given)
    } catch {
      return false
    }
  }
  if (!isObject(read)) return false
  const from = Object.getPrototypeOf(read)
  if (from !== Object.prototype && from !== null) return false
  for (const key of Object.keys(read)) {
    const value = read[key]
    const plain =
      typeof value === 'string' ? !HALF.test(value) : typeof value === 'number' ? Number.isFinite(value) : typeof value === 'boolean'
    if (!plain || HALF.test(key) || key === 'toJSON') return false
  }
  return true
}

/** Ids and properties as text that were found in order last: who asks again with the same ones has them looked at once. */
let sound = { ids: [], texts: [] }

/** Whether ids are each other's like none, and of an order that is the engine's; and texts are properties. */
function areSound(ids, texts) {
  if (sameAs(ids, sound.ids) && sameAs(texts, sound.texts)) return true
  let size = 0
  for (const id of ids) {
    if (!ORDERLY.test(id)) return false
    size += id.length
  }
  if (new Set(ids).size !== ids.length) return false
  for (const text of texts) {
    if (text === undefined) continue
    if (!isPlain(text)) return false
    size += text.length
  }
  if (size <= KEPT) sound = { ids, texts }
  return true
}

/** Ids of candidates, with their embeddings in `rows` and what else counts in `numbers`; undefined where JSON has to say more. */
function idsOf(candidates, width, rows, numbers) {
  const { length } = candidates
  const ids = new Array(length)
  const texts = new Array(length)
  for (let place = 0; place < length; place++) {
    const candidate = candidates[place]
    if (!isObject(candidate)) return undefined
    const own = Object.keys(candidate)
    if (!sameAs(own, last.keys)) last = { keys: own, shape: shapeOf(own) }
    // A getter that asks in the meantime makes another one the last.
    const { shape } = last
    if (shape === undefined) return undefined
    // By their names, and only what is there: V8 then knows where each lies, and nothing inherited is read.
    const id = shape.id ? candidate.id : undefined
    const embedding = shape.embedding ? candidate.embedding : undefined
    const metadata = shape.metadata ? candidate.metadata : undefined
    const created = shape.created ? candidate.createdAt : shape.created_ ? candidate.created_at : undefined
    const uses = shape.uses ? candidate.accessCount : shape.uses_ ? candidate.access_count : undefined
    const rate = shape.rate ? candidate.successRate : shape.rate_ ? candidate.success_rate : undefined
    if (typeof id !== 'string') return undefined
    ids[place] = id
    if (rows !== undefined) {
      if (!isFloats(embedding) || embedding.length !== width) return undefined
      rows.set(embedding, place * width)
    } else if (embedding !== undefined && embedding !== null) {
      return undefined
    }
    if (typeof metadata === 'string') texts[place] = metadata
    else if (metadata !== undefined && metadata !== null && !isPlain(metadata)) return undefined
    if (!put(numbers, place, momentOf(created)) || !put(numbers, length + place, uses) || !put(numbers, 2 * length + place, rate)) return undefined
  }
  return areSound(ids, texts) ? ids : undefined
}

function put(numbers, at, given) {
  if (given === undefined || given === null) numbers[at] = NaN
  else if (Number.isFinite(given)) numbers[at] = given
  else return false
  return true
}

/**
 * The answer of `Router.route` where numbers are all there is to rank by; undefined where the engine has to be asked by JSON.
 * @returns {RoutingResponse | undefined}
 */
export function rankedRows(scorer, thresholds, query, candidates, matrix, k, now) {
  const { length } = candidates
  const { length: width } = query
  if (scorer.rankRows === undefined || length === 0 || length >= FEW) return undefined
  if (!(Number.isInteger(k) && k > 0 && k <= MOST && Number.isFinite(now) && (matrix === undefined || isFloats(matrix)))) return undefined
  const taken = matrix === undefined ? embeddingRows.take(length * width) : undefined
  const numbers = givenNumbers.take(GIVEN * length)
  let ids, response
  try {
    ids = idsOf(candidates, width, taken, numbers)
  } catch {
    // A getter that throws, a proxy of numbers: read once more for its JSON, it is named.
  }
  if (ids !== undefined) {
    const rows = taken === undefined ? ownBytes(matrix) : taken.subarray(0, length * width)
    const out = answeredNumbers.take(ANSWERED * length)
    const { confidence_threshold, max_uncertainty } = thresholds
    const begun = performance.now()
    const calibrated = scorer.rankRows(
      rows, numbers.subarray(0, GIVEN * length), query, now, confidence_threshold, max_uncertainty, out.subarray(0, ANSWERED * length),
    )
    const inferenceTimeUs = (performance.now() - begun) * 1000
    if (calibrated >= 0) response = { decisions: decisionsOf(out, ids, k), inferenceTimeUs, errors: [], calibrated: calibrated === 1 }
    answeredNumbers.keep(out)
  }
  if (taken !== undefined) embeddingRows.keep(taken)
  givenNumbers.keep(numbers)
  return response
}

/** The first `k` decisions, equal scores by id. */
function decisionsOf(out, ids, k) {
  const { length } = ids
  const named = new Array(length)
  /** Where those begin that have the same score. */
  let same = 0
  for (let place = 0; place < length; place++) {
    if (out[ANSWERED * place + 3] < 2) {
      if (place - same > 1) orderById(named, same, place)
      if (place >= k) {
        same = length
        break
      }
      same = place
    }
    named[place] = ids[out[ANSWERED * place]]
  }
  if (length - same > 1) orderById(named, same, length)
  const decisions = new Array(Math.min(k, length))
  for (let place = 0, at = 0; place < decisions.length; place++, at += ANSWERED) {
    // Equal scores have the same numbers.
    decisions[place] = { candidateId: named[place], confidence: out[at + 1], useLightweight: (out[at + 3] & 1) === 1, uncertainty: out[at + 2] }
  }
  return decisions
}

/** Puts the ids from `start` up to `end` in their order. */
function orderById(ids, start, end) {
  const same = ids.slice(start, end).sort()
  for (let place = start; place < end; place++) ids[place] = same[place - start]
}

/** The nearest of candidates that stay, as their JSON says them; undefined where the engine has to be asked by it. */
export function nearestRows(candidates, thresholds, query, ids, k) {
  if (candidates.rankVector === undefined || ids.length === 0 || !(Number.isInteger(k) && k >= 1 && k <= MOST)) return undefined
  const room = FOUND * Math.min(k, ids.length)
  const out = answeredNumbers.take(room)
  const { confidence_threshold, max_uncertainty } = thresholds
  const count = candidates.rankVector(query, present(), confidence_threshold, max_uncertainty, out.subarray(0, room))
  const found = count < 0 ? undefined : new Array(count)
  for (let place = 0, at = 0; place < count; place++, at += FOUND) {
    const flags = out[at + 4]
    found[place] = {
      candidate_id: ids[out[at]],
      score: out[at + 1],
      confidence: out[at + 2],
      uncertainty: out[at + 3],
      use_lightweight: (flags & 1) === 1,
      in_prediction_set: (flags & 2) === 2,
    }
  }
  answeredNumbers.keep(out)
  return found
}
