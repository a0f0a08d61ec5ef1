// One instance of the module: text and bytes in, text out. `index.js` makes objects of it.

/** Operations in order of their numbers: `Operation::ALL` of src/instance.rs. */
const OPERATIONS = [
  'encoder', 'router', 'decide', 'routes', 'route', 'tools', 'addTools', 'select', 'agents', 'putAgents', 'choose',
  'observe', 'candidates', 'addCandidates', 'rank', 'tasks', 'classify',
  'clearCandidates',
]
const NUMBERS = new Map(OPERATIONS.map((name, number) => [name, number]))

let encoder, decoder

/** What kind of object the platform says it is: one of another realm (a frame, a test runner) is no instance of this one's classes. */
export const tagOf = (given) => Object.prototype.toString.call(given).slice(8, -1)

export class TinyDancerError extends Error {
  constructor(code, field, value, remedy, options) {
    super(`${field}: ${value}; ${remedy}`, options)
    this.name = 'TinyDancerError'
    Object.assign(this, { code, field, value, remedy })
  }
}

/** The module that is given: itself, its bytes, a response, or where `get` gets one of these. */
export async function moduleOf(source, get = (url) => fetch(url)) {
  const refused = (value, cause) => new TinyDancerError('ModuleMissing', 'source', value, 'serve tiny-dancer.wasm there, or give it', { cause })
  if (typeof TextEncoder === 'undefined' || typeof TextDecoder === 'undefined') {
    // jsdom has none.
    throw new TinyDancerError('ModuleMissing', 'TextEncoder', 'undefined', 'put TextEncoder and TextDecoder of node:util into the globals')
  }
  let given
  try {
    given = await source
    if (given === undefined) {
      throw new TinyDancerError('ModuleMissing', 'source', 'undefined', 'import the module here, and give it: nothing lies beside a script without address')
    }
    if (typeof given === 'string') given = new URL(given, globalThis.location?.href)
    if (tagOf(given) === 'URL') given = await get(given)
    if (tagOf(given) === 'Response') {
      if (!given.ok) throw refused(`${given.status} ${given.url}`)
      given = await given.arrayBuffer()
    }
    // A server that answers any path with its first page is the usual case of what is no module.
    if (tagOf(given) !== 'WebAssembly.Module') given = await WebAssembly.compile(given)
  } catch (cause) {
    throw cause instanceof TinyDancerError ? cause : refused(String(cause?.message ?? cause), cause)
  }
  if (!WebAssembly.Module.exports(given).some(({ name }) => name === 'stopped_length')) throw refused('another WebAssembly module')
  return given
}

/** Bytes that `given` takes at most in UTF-8. */
const room = (given) => (typeof given === 'string' ? given.length * 3 : given.length)

export class Instance {
  #exports
  #bytes = new Uint8Array()
  #stopped = false

  /** @param {WebAssembly.Module} module */
  constructor(module) {
    encoder ??= new TextEncoder()
    decoder ??= new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    try {
      this.#exports = new WebAssembly.Instance(module, {}).exports
    } catch (cause) {
      // Node reserves 10 GB of addresses for each memory, however little of it is used.
      const remedy = 'allow more address space (ulimit -v), or start Node with --disable-wasm-trap-handler'
      throw new TinyDancerError('EngineStopped', 'memory', String(cause?.message ?? cause), remedy, { cause })
    }
  }

  /** Whether it trapped: then it is never called again. */
  get stopped() {
    return this.#stopped
  }

  /** How many bytes of memory it has. */
  get memory() {
    return this.#exports.memory.buffer.byteLength
  }

  /**
   * @param {string} operation
   * @param {string | Uint8Array} first
   * @param {string | Uint8Array} second
   * @returns {string}
   */
  call(operation, first = '', second = '') {
    if (this.#stopped) throw stopped('it stopped before')
    let length, answer
    try {
      const start = this.#exports.input(room(first) + room(second)) >>> 0
      const one = this.#write(start, first)
      const two = this.#write(start + one, second)
      length = this.#exports.call(NUMBERS.get(operation) ?? OPERATIONS.length, one, two)
      const from = this.#exports.answer() >>> 0
      answer = decoder.decode(this.#memory().subarray(from, from + (length < 0 ? -1 - length : length)))
    } catch (cause) {
      // A trap, an exhausted stack or memory: whatever was half done stays so, and nobody sees it.
      this.#stopped = true
      throw stopped(this.#said() || String(cause?.message ?? cause), cause)
    }
    if (length >= 0) return answer
    const { code, field, value, remedy } = JSON.parse(answer)
    throw new TinyDancerError(code, field, value, remedy)
  }

  #memory() {
    const { buffer } = this.#exports.memory
    // Growing memory detaches the buffer before.
    if (this.#bytes.buffer !== buffer) this.#bytes = new Uint8Array(buffer)
    return this.#bytes
  }

  #write(start, given) {
    const bytes = this.#memory()
    if (typeof given === 'string') return encoder.encodeInto(given, bytes.subarray(start)).written
    bytes.set(given, start)
    return given.length
  }

  #said() {
    const length = this.#exports.stopped_length()
    const from = this.#exports.stopped() >>> 0
    return decoder.decode(this.#memory().subarray(from, from + length))
  }
}

const stopped = (value, cause) =>
  new TinyDancerError('EngineStopped', 'engine', value, 'make the object anew, and report what it was given', { cause })
