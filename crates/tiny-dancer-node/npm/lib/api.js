// What a user of the package meets, over whichever engine was loaded: the native module or the WebAssembly module.
// `index.d.ts` is generated from this file (`make node-types`).

import { asJson, bytesOf, check, checkedJson, isBytes, isObject, kindOf, objectOf } from './given.js'
import { tagOf, TinyDancerError } from './instance.js'

export { TinyDancerError }

/**
 * Anything JSON can say.
 * @typedef {null | boolean | number | string | readonly unknown[] | { readonly [name: string]: unknown }} Json
 */

/**
 * Bytes of a file. They are read where they lie; leave them as they are while what was made of them serves: the
 * WebAssembly module may have to read them again.
 * @typedef {Uint8Array | ArrayBuffer} Bytes
 */

/**
 * An embedding. A Float32Array is read where it lies, whatever its offset. A Buffer is the bytes of little-endian
 * float32, as databases give them; any other typed array and any list is its numbers.
 * @typedef {Float32Array | Float64Array | Int8Array | Int16Array | Int32Array | Uint8Array | readonly number[]} Embedding
 */

/**
 * An artifact and the encoder it names: each from a file, or as bytes. An encoder that is not given is looked for in the
 * package `tiny-dancer-encoder`.
 * @typedef {object} ArtifactConfig
 * @property {string | URL} [modelPath] file of the artifact; a file that is missing is an error
 * @property {Bytes} [artifact] its bytes, in place of `modelPath`
 * @property {string | URL} [encoderPath] file of the encoder
 * @property {Bytes} [encoder] its bytes, in place of `encoderPath`
 */

/**
 * @typedef {object} RankingConfig
 * @property {number} [confidenceThreshold] least calibrated confidence at which `useLightweight` is true; 0.85
 * @property {number} [maxUncertainty] largest uncertainty at which `useLightweight` is true; 0.15
 * @property {boolean} [enableQuantization] keep embeddings as int8: a quarter of the memory, cosines within about .01;
 *   false
 * @property {boolean} [enableCircuitBreaker] stop asking an artifact that keeps failing, for a while; true
 * @property {number} [circuitBreakerThreshold] failures within 60 seconds that open the breaker; 5
 */

/**
 * `artifact` or `modelPath` may be an artifact of models (for `decide`) or of candidates (for `route`). Without one,
 * `decide` uses the artifact that ships and `route` the combination without training. `models`: an object a model, in the
 * artifact's order, whose fields (`name`, prices, …) replace the model's.
 * @typedef {ArtifactConfig & RankingConfig & { models?: readonly object[] }} RouterConfig
 */

/**
 * What is asked beyond the request, by the names every language has.
 * @typedef {object} DecideOptions
 * @property {number | null} [max_cost] most USD the answer may cost
 * @property {number | null} [min_quality] least quality to expect, in [0, 1]
 * @property {number | null} [max_latency] most seconds the answer may take
 * @property {readonly string[] | null} [allowed] only these models
 * @property {readonly string[] | null} [exclude] not these
 * @property {string | null} [pin] this one, whatever the policy says
 * @property {number | null} [threshold] another threshold on the gain than the artifact's
 * @property {number | null} [cost_weight] another quality per unit of cost than the artifact's
 * @property {'quality' | 'balanced' | 'cheapest' | null} [policy] one of the artifact's policies
 * @property {number | null} [expected_output_tokens] of any model, where the caller knows
 * @property {string | null} [current] the model the conversation is with
 * @property {Readonly<Record<string, number>> | null} [cached_tokens] tokens in the models' prompt caches
 */

/**
 * The model to call, and everything there is to say about the choice. Null is unknown.
 * @typedef {object} Decision
 * @property {string} model
 * @property {Record<string, number>} scores expected quality of each model
 * @property {Record<string, number | null>} costs expected USD
 * @property {Record<string, number | null>} latencies expected seconds
 * @property {number} tokens of the prompt
 * @property {Record<string, number | null>} output_tokens expected
 * @property {Record<string, string>} removed what removed which model
 * @property {number | null} quality expected of the model chosen
 * @property {number | null} cost
 * @property {number | null} confidence calibrated probability that no other model would have been better
 * @property {number | null} likeness p-value of "the request is like those the artifact was calibrated on"
 * @property {string[]} prediction_set models that may be the best one
 * @property {string} reason
 * @property {string} routed_by
 * @property {Record<string, Json> | null} guarantee the certificate the decision stands under
 * @property {string} guarantee_note why there is none
 * @property {string} artifact_version
 * @property {2 | 3} [level] only where the artifact could not be asked: 2 rules, 3 the model that is best for all requests;
 *   what only the artifact knows is then null
 * @property {string} [level_reason] why
 */

/**
 * A memory, a tool, a document, a model. Everything but the id may be absent. Names with an underscore
 * (`created_at`) are taken as well.
 * @typedef {object} Candidate
 * @property {string} id unique among the candidates
 * @property {Embedding | null} [embedding] as wide as the others'
 * @property {string | null} [text] what it says
 * @property {Json} [metadata] an object of properties, or its JSON as text
 * @property {number | string | Date | null} [createdAt] seconds, milliseconds, microseconds or nanoseconds since 1970, told
 *   apart by size; or ISO 8601
 * @property {number | null} [accessCount] how often it was used
 * @property {number | null} [successRate] share of its uses that helped, in [0, 1]
 * @property {number | null} [trials] uses the rate was counted over; `accessCount` where absent
 * @property {number | null} [confidence] how sure its maker is of it, in [0, 1]
 * @property {string | null} [group] the conversation or document it is part of
 * @property {number | null} [position] place within the group
 * @property {number | string | Date | null} [expiresAt] from when on it takes no part
 * @property {readonly string[] | null} [namespace] where it belongs, from the widest part to the narrowest
 */

/**
 * @typedef {object} RoutingRequest
 * @property {Embedding | null} [queryEmbedding] as wide as the candidates'
 * @property {string | null} [text] the request's words, beside its embedding or in its place
 * @property {readonly Candidate[]} candidates
 * @property {Float32Array | null} [embeddings] of all candidates, row after row, in place of `embedding` of each
 * @property {Json} [metadata] properties of the request, compared with the candidates' own: an object, or its JSON
 * @property {number | null} [k] most candidates to give; all
 * @property {object | null} [where] which candidates may be given, such as `{ user: 'anna', year: { $gte: 2020 } }`
 * @property {number | null} [diversity] from 0 (by score alone) to 1 (unlike what is already taken)
 * @property {number | string | Date | null} [now] time of the request; the present
 */

/**
 * @typedef {object} RoutingDecision
 * @property {string} candidateId
 * @property {number} confidence calibrated probability that the candidate is relevant; where nothing was calibrated, its
 *   score
 * @property {boolean} useLightweight whether a light model will do: confidence is at least `confidenceThreshold` and
 *   uncertainty at most `maxUncertainty`. Never where nothing was calibrated
 * @property {number} uncertainty smallest α at which "relevant" or "irrelevant" alone is the conformal prediction set; 1
 *   where nothing was calibrated
 */

/**
 * @typedef {object} RoutingResponse
 * @property {RoutingDecision[]} decisions best first; equal scores by id
 * @property {number} inferenceTimeUs microseconds in the engine
 * @property {{ candidateId: string, reason: string }[]} errors candidates that took no part, and why
 * @property {boolean} calibrated whether confidence and uncertainty come from calibration
 * @property {2 | 3} [level] only where the artifact could not be asked: 2 the combination without training, 3 as given
 * @property {string} [levelReason] why
 */

/**
 * @typedef {object} CandidateQuery
 * @property {string | null} [text]
 * @property {Embedding | null} [embedding]
 * @property {Json} [metadata]
 * @property {number | string | Date | null} [now] the present where absent
 * @property {number | null} [k] most candidates to give; 5
 * @property {object | null} [where]
 * @property {number | null} [diversity]
 * @property {number | null} [confidence_threshold]
 * @property {number | null} [max_uncertainty]
 */

/**
 * @typedef {object} RankedCandidate
 * @property {string} candidate_id
 * @property {number} score
 * @property {number} confidence
 * @property {number} uncertainty
 * @property {boolean} use_lightweight
 * @property {boolean} in_prediction_set
 * @property {Record<string, number>} features
 */

/**
 * @typedef {object} Ranking
 * @property {RankedCandidate[]} decisions best first
 * @property {{ candidate_id: string, reason: string }[]} errors
 * @property {number | null} prediction_set_size
 * @property {boolean} calibrated
 * @property {2 | 3} [level] as in a {@link RoutingResponse}
 * @property {string} [level_reason]
 */

/**
 * A text, or a vector with the name of the encoder that made it.
 * @typedef {string | { text: string } | { vector: readonly number[], encoder: string }} RouteRequest
 */

/**
 * @typedef {object} Selection
 * @property {{ id: string, score: number, relevance: number, kept: boolean }[]} tools best first
 * @property {number} considered how many tools there are
 */

/**
 * @typedef {object} AgentChoice
 * @property {string} agent
 * @property {number} quality
 * @property {number | null} cost
 * @property {number | null} latency
 * @property {number | null} utility
 * @property {number} confidence
 * @property {string | null} runner_up
 * @property {number} suitable
 * @property {Record<string, string>} removed
 * @property {string} reason
 */

// ---- what the package is made over

/** @type {any} */
let engine
/** @type {any} */
let platform

/**
 * Says over what the classes are made; an entry of the package calls it once.
 * @internal
 * @param {any} givenEngine
 * @param {any} givenPlatform
 */
export function use(givenEngine, givenPlatform) {
  engine = givenEngine
  platform = givenPlatform
}

function made() {
  if (engine === undefined) {
    throw new TinyDancerError('NotInitialised', 'init', 'not awaited', 'await init() before anything is made')
  }
  return engine
}

/** Runs a call of the engine; what the native module throws is the text of an error. */
function call(work) {
  try {
    return work()
  } catch (error) {
    throw named(error)
  }
}

function named(error) {
  if (error instanceof TinyDancerError) return error
  let said
  try {
    said = JSON.parse(error.message)
  } catch {
    said = { code: 'EngineStopped', field: 'engine', value: String(error?.message ?? error), remedy: 'report what it was given' }
  }
  return new TinyDancerError(said.code, said.field, said.value, said.remedy)
}

/** Requests answered on other threads, and how many of them at a time: what comes back is read on this one. */
const AT_A_TIME = 1024

async function inBatches(requests, answer) {
  const answers = []
  for (let start = 0; start < requests.length; start += AT_A_TIME) {
    try {
      for (const each of JSON.parse(await answer(requests.slice(start, start + AT_A_TIME)))) answers.push(each)
    } catch (cause) {
      const { code, field, value, remedy } = named(cause)
      const placed = field.replace(/^requests\[(\d+)\]/, (_, row) => `requests[${start + Number(row)}]`)
      throw new TinyDancerError(code, placed, value, remedy)
    }
  }
  return answers
}

// ---- what is given, read

function known(given, names, field) {
  objectOf(given, field, 'OptionInvalid', 'give an object')
  for (const name of Object.keys(given)) {
    if (names.includes(name) || given[name] === undefined) continue
    if (name === 'databasePath') {
      throw new TinyDancerError('OptionInvalid', name, String(given[name]), 'leave it out: this package keeps no database')
    }
    throw new TinyDancerError('OptionInvalid', name, 'unknown', `options are ${names.join(', ')}`)
  }
}

const ownBytes = (view) =>
  // What another thread may write to is copied before it is read.
  tagOf(view.buffer) === 'SharedArrayBuffer' ? view.slice() : view

let decoder

function textOf(bytes, field) {
  try {
    decoder ??= new TextDecoder('utf-8', { fatal: true })
    return decoder.decode(ownBytes(bytes))
  } catch (cause) {
    throw new TinyDancerError('RequestInvalid', field, cause.message, 'give UTF-8', { cause })
  }
}

const optionsOf = (given) =>
  given === undefined || given === null ? '' : checkedJson(objectOf(given, 'options', 'OptionInvalid', 'give an object of options by their names'), '', 'OptionInvalid')

function listOf(given, field, code) {
  if (!Array.isArray(given)) throw new TinyDancerError(code, field, kindOf(given), 'give a list')
  return given
}

const isBuffer = (given) => typeof Buffer !== 'undefined' && Buffer.isBuffer(given)

/** @returns {Float32Array} */
function embeddingOf(given, field) {
  const numbers = numbersOf(given, field)
  // None are left in a buffer that was transferred away or shrunk; and none at all would be a question without an embedding.
  if (numbers.length === 0) throw new TinyDancerError('CandidateInvalid', field, '0 numbers', 'give at least one number')
  return numbers
}

function numbersOf(given, field) {
  const refused = (place, value) =>
    new TinyDancerError('CandidateInvalid', place, value, 'give a Float32Array, a list of numbers, or a Buffer of little-endian float32')
  if (tagOf(given) === 'Float32Array') return given.length === 0 ? given : ownBytes(given)
  if (isBuffer(given)) {
    if (given.byteLength % 4 !== 0) throw refused(field, `a Buffer of ${given.byteLength} bytes`)
    if (given.byteLength === 0) return new Float32Array(0)
    const { buffer, byteOffset, byteLength } = byteLengthAligned(given)
    return new Float32Array(buffer, byteOffset, byteLength / 4)
  }
  if (Array.isArray(given)) {
    const place = given.findIndex((value) => typeof value !== 'number')
    if (place >= 0) throw refused(`${field}[${place}]`, kindOf(given[place]))
    return Float32Array.from(given)
  }
  if (ArrayBuffer.isView(given) && !(given instanceof DataView) && typeof given[0] !== 'bigint') return Float32Array.from(/** @type {any} */ (given))
  throw refused(field, kindOf(given))
}

/** The same bytes where a Float32Array may begin. */
const byteLengthAligned = (given) => {
  const own = ownBytes(given)
  return own.byteOffset % 4 === 0 ? own : new Uint8Array(own)
}

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

/** A Date as seconds: its milliseconds would be taken for seconds in the first years after 1970. */
const momentOf = (given) => (given instanceof Date ? given.getTime() / 1000 : given)

const NAMES = new Map([
  ['createdAt', 'created_at'],
  ['accessCount', 'access_count'],
  ['successRate', 'success_rate'],
  ['expiresAt', 'expires_at'],
])

/** Rows of candidates that are read before this call returns. */
let gathered = new Float32Array(0)
/** Numbers that are kept for the next question; the rows of a large one would stay as long as the process. */
const KEPT = 1 << 20

const keep = (taken) => {
  if (taken.length <= KEPT) gathered = taken
}

/**
 * Candidates as the JSON of all but their embeddings, and these as one matrix.
 * @returns {{ json: string, rows: Float32Array | undefined }}
 */
function candidatesOf(given, matrix) {
  listOf(given, 'candidates', 'CandidateInvalid')
  let rows, width, taken
  if (matrix !== undefined && matrix !== null) {
    if (tagOf(matrix) !== 'Float32Array') {
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
          // Taken while it is filled: a getter of the caller's may ask in the middle of it.
          taken = gathered.length < size ? new Float32Array(size) : gathered
          gathered = new Float32Array(0)
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
        own[moved] = read
      }
    }
    plain[place] = own
  }
  const json = asJson(plain, 'candidates', 'CandidateInvalid')
  if (taken !== undefined) keep(taken)
  return { json, rows }
}

/** Numbers of candidates by their names, and which of three they are. */
const NUMBERS = new Map([
  ['createdAt', 0], ['created_at', 0], ['accessCount', 1], ['access_count', 1], ['successRate', 2], ['success_rate', 2],
])

/** Candidates below this number are ranked by their numbers where there is nothing else to rank them by. */
const FEW = 1024

/** Ids of which JavaScript's order is the engine's, by UTF-8. */
const ORDERLY = /^[^\ud800-\uffff]+$/

/** What else is known of candidates, and what is answered: both are read before a call returns. */
let told = new Float64Array(0)
let answered = new Float64Array(0)

const grown = (/** @type {any} */ space, size) => (space.length < size ? new space.constructor(size) : space)

/**
 * Ids, rows and numbers of candidates of which no more is known; undefined where there is more, or a mistake, which their JSON
 * says. Both spaces are taken away meanwhile: a getter that asks in between gets others.
 */
function knownOf(given, width, matrix) {
  const { length } = given
  const ids = []
  const rows = matrix === undefined ? grown(gathered, length * width) : gathered
  const numbers = grown(told, 3 * length)
  gathered = new Float32Array(0)
  told = new Float64Array(0)
  numbers.fill(NaN, 0, 3 * length)
  for (let place = 0; place < length; place++) {
    const candidate = given[place]
    if (!isObject(candidate)) return undefined
    let id
    let found = matrix
    for (const name of Object.keys(candidate)) {
      const value = candidate[name]
      if (value === undefined || value === null) continue
      if (name === 'id') {
        if (typeof value !== 'string' || !ORDERLY.test(value)) return undefined
        id = value
      } else if (name === 'embedding') {
        if (found !== undefined || !(value instanceof Float32Array) || value.length !== width) return undefined
        rows.set(value, place * width)
        found = value
      } else {
        const at = NUMBERS.get(name)
        const number = momentOf(value)
        if (at === undefined || !Number.isFinite(number)) return undefined
        const slot = at * length + place
        if (!Number.isNaN(numbers[slot])) return undefined
        numbers[slot] = number
      }
    }
    if (found === undefined || id === undefined) return undefined
    ids.push(id)
  }
  return new Set(ids).size === length ? { ids, rows, numbers } : undefined
}

const present = () => Date.now() / 1000

/** What is asked, at the time it names, or now. */
function atPresent(given, field) {
  const asked = objectOf(given ?? {}, field, 'OptionInvalid', 'give an object of options by their names')
  return { ...asked, now: asked.now === undefined || asked.now === null ? present() : momentOf(asked.now) }
}

/** A query as its JSON but for its embedding. */
function queryOf(given) {
  const { embedding, metadata, now, ...rest } = given
  const plain = { ...rest, now: now === undefined || now === null ? present() : momentOf(now) }
  if (metadata !== undefined && metadata !== null) plain.metadata = metadataOf(metadata, 'query.metadata')
  const numbers = embedding === undefined || embedding === null ? undefined : embeddingOf(embedding, 'query.embedding')
  return { json: checkedJson(plain, 'query', 'CandidateInvalid'), numbers }
}

function shareOf(given, field, usual) {
  if (given === undefined || given === null) return usual
  if (typeof given !== 'number' || !(given >= 0 && given <= 1)) {
    throw new TinyDancerError('OptionInvalid', field, typeof given === 'number' ? String(given) : kindOf(given), 'give a number from 0 to 1')
  }
  return given
}

function truthOf(given, field, usual) {
  if (given === undefined || given === null) return usual
  if (typeof given !== 'boolean') throw new TinyDancerError('OptionInvalid', field, kindOf(given), 'give true or false')
  return given
}

// ---- artifacts and encoders

const ARTIFACT = ['modelPath', 'artifact', 'encoderPath', 'encoder']

/** Bytes from a file or as they are; undefined where neither is given. */
function source(config, path, bytes) {
  const named = config[path] ?? undefined
  const given = config[bytes] ?? undefined
  if (named !== undefined && given !== undefined) {
    throw new TinyDancerError('OptionInvalid', path, `given beside ${bytes}`, 'give one of the two')
  }
  if (given !== undefined) return ownBytes(bytesOf(given, bytes, 'ArtifactInvalid'))
  if (named === undefined) return undefined
  if (typeof named !== 'string' && tagOf(named) !== 'URL') {
    throw new TinyDancerError('OptionInvalid', path, kindOf(named), 'give the path of a file, as text or a file: URL')
  }
  return platform.readFile(named, path)
}

/** What an artifact's header says; an empty one where there is none to read: the engine says why. */
function headerOf(artifact) {
  try {
    const view = new DataView(artifact.buffer, artifact.byteOffset, artifact.byteLength)
    const length = Number(view.getBigUint64(0, true))
    if (length > artifact.byteLength - 8) return {}
    const header = JSON.parse(new TextDecoder().decode(artifact.subarray(8, 8 + length)))
    return objectOf(JSON.parse(header.__metadata__.tiny_dancer), 'header', 'ArtifactInvalid', '')
  } catch {
    return {}
  }
}

/** Encoders by their bytes: what is made with the same bytes shares one. */
const encoders = new WeakMap()

function encoderFor(config, artifact) {
  let bytes = source(config, 'encoderPath', 'encoder')
  if (bytes === undefined && artifact !== undefined) {
    const header = headerOf(artifact)
    const wanted = header.features?.encoder ?? header.encoder?.checksum ?? header.encoder
    if (typeof wanted === 'string') {
      bytes = platform.encoder(wanted)
      if (bytes === undefined) throw new TinyDancerError('EncoderMissing', 'encoder', wanted, platform.remedy)
    }
  }
  if (bytes === undefined) return undefined
  let encoder = encoders.get(bytes)
  if (encoder === undefined) {
    encoder = call(() => new (made().Encoder)(bytes))
    encoders.set(bytes, encoder)
  }
  return encoder
}

function artifactOf(config, what) {
  const found = source(config, 'modelPath', 'artifact')
  if (found === undefined) throw new TinyDancerError('OptionInvalid', 'modelPath', 'not given', `give modelPath or artifact: ${what}`)
  return found
}

// ---- the classes

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
    this.#config = { ...config }
    this.#breaker = breakerOf(config)
    this.#thresholds = thresholdsOf(config)
    this.#quantised = truthOf(config.enableQuantization, 'enableQuantization', false)
    this.#load(source(config, 'modelPath', 'artifact'))
  }

  #load(artifact, isOfCandidates = artifact !== undefined && headerOf(artifact).kind === 'candidates') {
    if (artifact === undefined) {
      if (this.#renamed !== undefined) this.#models = this.#decider()
      this.#scorer = call(() => new engine.Scorer(undefined, this.#breaker))
    } else if (isOfCandidates) {
      if (this.#renamed !== undefined) {
        throw new TinyDancerError('OptionInvalid', 'models', 'given', 'leave it out: this artifact is of candidates')
      }
      if (this.#scorer === undefined) this.#scorer = call(() => new engine.Scorer(artifact, this.#breaker))
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

  #decider(artifact = platform.artifact()) {
    const changes = this.#renamed === undefined ? '' : checkedJson(this.#renamed, 'models', 'OptionInvalid')
    const encoder = encoderFor(this.#config, artifact)
    if (this.#models === undefined) return call(() => new engine.Router(artifact, encoder, changes, this.#breaker))
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
   * @param {readonly (string | readonly object[] | object | Uint8Array)[]} requests
   * @param {DecideOptions | null} [options]
   * @returns {Promise<Decision[]>}
   */
  async decideBatch(requests, options) {
    const models = this.#asked()
    const asked = optionsOf(options)
    const said = listOf(requests, 'requests', 'RequestInvalid').map((request, row) =>
      tagOf(request) === 'Uint8Array' ? textOf(request, `requests[${row}]`) : asJson(request, `requests[${row}]`),
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
      const names = 'queryEmbedding, text, candidates, embeddings, metadata, k, where, diversity, now'
      throw new TinyDancerError('RequestInvalid', unknown, 'unknown', `a request has ${names}`)
    }
    const missing = (given) => given === undefined || given === null
    if (missing(queryEmbedding) && (typeof text !== 'string' || text.trim() === '')) {
      throw new TinyDancerError('RequestInvalid', 'queryEmbedding', 'not given', 'give an embedding, a text, or both')
    }
    const { length } = listOf(candidates, 'candidates', 'CandidateInvalid')
    const asked = missing(queryEmbedding) ? undefined : embeddingOf(queryEmbedding, 'queryEmbedding')
    const plain = [text, metadata, where, diversity].every(missing)
    if (plain && asked !== undefined && length > 0 && length < FEW && !this.#quantised && this.#scorer.rankRows !== undefined) {
      const response = this.#byNumbers(asked, candidates, embeddings ?? undefined, k ?? length, momentOf(now ?? present()))
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

  /** What `route` gives where numbers are all there is to rank by; undefined where the engine has to be asked by JSON. */
  #byNumbers(query, candidates, matrix, k, now) {
    const { length } = candidates
    if (!(Number.isInteger(k) && k > 0 && Number.isFinite(now) && (matrix === undefined || matrix instanceof Float32Array))) return undefined
    const known = knownOf(candidates, query.length, matrix)
    if (known === undefined) return undefined
    const { ids, numbers } = known
    answered = grown(answered, 4 * length)
    const out = answered.subarray(0, 4 * length)
    const rows = matrix === undefined ? known.rows.subarray(0, length * query.length) : ownBytes(matrix)
    const { confidence_threshold, max_uncertainty } = this.#thresholds
    const begun = performance.now()
    const calibrated = this.#scorer.rankRows(rows, numbers.subarray(0, 3 * length), query, now, confidence_threshold, max_uncertainty, out)
    const inferenceTimeUs = (performance.now() - begun) * 1000
    keep(known.rows)
    told = numbers
    if (calibrated < 0) return undefined
    const decisions = new Array(length)
    /** Where those begin that have the same score. */
    let same = 0
    for (let place = 0, at = 0; place < length; place++, at += 4) {
      const flags = out[at + 3]
      if (flags < 2) {
        orderById(decisions, same, place)
        same = place
      }
      decisions[place] = { candidateId: ids[out[at]], confidence: out[at + 1], useLightweight: (flags & 1) === 1, uncertainty: out[at + 2] }
    }
    orderById(decisions, same, length)
    if (k < length) decisions.length = k
    return { decisions, inferenceTimeUs, errors: [], calibrated: calibrated === 1 }
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

/** Puts decisions that have the same score, those from `start` up to `end`, in the order of their ids. */
function orderById(decisions, start, end) {
  if (end - start < 2) return
  const same = decisions.slice(start, end).sort((one, other) => (one.candidateId < other.candidateId ? -1 : 1))
  for (let place = start; place < end; place++) decisions[place] = same[place - start]
}

const RANKING = ['confidenceThreshold', 'maxUncertainty', 'enableQuantization', 'enableCircuitBreaker', 'circuitBreakerThreshold']

/** Failures that open a breaker; undefined for none. */
function breakerOf(config) {
  const { circuitBreakerThreshold: given } = config
  if (given !== undefined && given !== null && !(Number.isInteger(given) && given >= 1 && given < 2 ** 31)) {
    throw new TinyDancerError('OptionInvalid', 'circuitBreakerThreshold', typeof given === 'number' ? String(given) : kindOf(given), 'give a whole number from 1 on')
  }
  return truthOf(config.enableCircuitBreaker, 'enableCircuitBreaker', true) ? (given ?? 5) : undefined
}

function thresholdsOf(config) {
  return {
    confidence_threshold: shareOf(config.confidenceThreshold, 'confidenceThreshold', 0.85),
    max_uncertainty: shareOf(config.maxUncertainty, 'maxUncertainty', 0.15),
  }
}

/** Queries to candidates that stay: made once, asked often. */
export class CandidateRouter {
  #candidates
  #thresholds

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
    this.#candidates = call(() => new engine.Candidates(new engine.Scorer(artifact, breakerOf(config)), encoder, quantised))
  }

  /**
   * Adds candidates, all or none.
   * @param {readonly Candidate[]} candidates
   * @param {Float32Array} [embeddings] of all of them, row after row, in place of `embedding` of each
   * @returns {void}
   */
  add(candidates, embeddings) {
    const { json, rows } = candidatesOf(candidates, embeddings)
    call(() => this.#candidates.add(json, rows))
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
    const json = checkedJson({ ...this.#thresholds, k, now: present() }, '', 'OptionInvalid')
    return JSON.parse(call(() => this.#candidates.rank(json, numbers, false))).decisions
  }

  /**
   * Ranks for many queries on another thread, in order.
   * @param {readonly CandidateQuery[]} queries
   * @returns {Promise<Ranking[]>}
   */
  async rankBatch(queries) {
    const said = listOf(queries, 'requests', 'CandidateInvalid').map((query) => {
      const given = objectOf(query, 'query', 'CandidateInvalid', 'give an object')
      const { json, numbers } = queryOf({ ...this.#thresholds, ...given })
      if (numbers === undefined) return json
      check(Array.from(numbers), 'query.embedding', 'CandidateInvalid')
      return `${json.slice(0, -1)},"embedding":[${numbers}]}`
    })
    return inBatches(said, (some) => this.#candidates.rankBatch(some, true))
  }
}

/** Requests to routes, by an artifact. */
export class SemanticRouter {
  #routes
  #zones

  /** @param {ArtifactConfig} config */
  constructor(config) {
    known(config, ARTIFACT, 'config')
    made()
    const artifact = artifactOf(config, 'routes of `tiny-dancer routes fit`')
    const encoder = encoderFor(config, artifact)
    this.#routes = call(() => new engine.Routes(artifact, encoder))
    this.#zones = zonesOf(headerOf(artifact).routes, new Set())
  }

  /** Options whose context has the time, and what the clocks of the zones that conditions name show then. */
  #options(given) {
    const asked = objectOf(given ?? {}, 'options', 'OptionInvalid', 'give an object of options by their names')
    const context = atPresent(asked.context, 'context')
    const offsets = {}
    for (const zone of this.#zones) offsets[zone] = secondsEast(zone, context.now)
    return optionsOf({ ...asked, context: { ...context, offsets: { ...offsets, ...context.offsets } } })
  }

  /**
   * @param {RouteRequest} request
   * @param {object | null} [options]
   * @returns {Record<string, any>}
   */
  route(request, options) {
    const said = routeRequest(request, 'request')
    const asked = this.#options(options)
    return JSON.parse(call(() => this.#routes.route(said, asked)))
  }

  /**
   * Routes many requests with the same options on other threads, in order.
   * @param {readonly RouteRequest[]} requests
   * @param {object | null} [options]
   * @returns {Promise<Record<string, any>[]>}
   */
  async routeBatch(requests, options) {
    const said = listOf(requests, 'requests', 'RequestInvalid').map((request, row) => routeRequest(request, `requests[${row}]`))
    const asked = this.#options(options)
    return inBatches(said, (some) => this.#routes.routeBatch(some, asked))
  }
}

/** Time zones that conditions of routes name. */
function zonesOf(given, found) {
  if (typeof given === 'object' && given !== null) {
    if (typeof given.time?.zone === 'string') found.add(given.time.zone)
    for (const each of Object.values(given)) zonesOf(each, found)
  }
  return found
}

function secondsEast(zone, now) {
  try {
    const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
    const written = format.formatToParts(now * 1000).find(({ type }) => type === 'timeZoneName').value
    const [, sign, hours, minutes, seconds = 0] = /GMT([+-])(\d+):(\d+)(?::(\d+))?/.exec(written) ?? [0, '+', 0, 0, 0]
    return Number(`${sign}1`) * (hours * 3600 + minutes * 60 + Number(seconds))
  } catch (cause) {
    throw new TinyDancerError('OptionInvalid', 'context', `${zone} at ${now}: ${cause.message}`, 'give now as seconds, and offsets of zones', { cause })
  }
}

function routeRequest(given, field) {
  if (typeof given === 'string') return asJson({ text: given }, field)
  objectOf(given, field, 'RequestInvalid', 'give a text, or an object of text or vector and encoder')
  const { vector } = given
  if (vector === undefined || vector === null) return checkedJson(given, field, 'RequestInvalid')
  return checkedJson({ ...given, vector: Array.from(embeddingOf(vector, `${field}.vector`)) }, field, 'RequestInvalid')
}

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
    this.#tools = call(() => new engine.Tools(learned, encoder))
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
    this.#agents = call(() => new engine.Agents(halfLife))
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
    this.#tasks = call(() => new engine.Tasks(artifact, encoder))
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
    const said = listOf(texts, 'requests', 'RequestInvalid').map((text, row) => asJson({ text }, `requests[${row}]`))
    return inBatches(said, (some) => this.#tasks.classifyBatch(some))
  }
}
