// Bytes and numbers, as they are given.

import { bytesOf, kindOf } from './given.js'
import { tagOf, TinyDancerError } from './instance.js'

const { get: viewOf } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)

/** Whether it is a Float32Array, of whatever realm, and does not only look like one: a proxy's numbers lie nowhere. */
export const isFloats = (given) => viewOf.call(given) === 'Float32Array'

export const ownBytes = (view) =>
  // What another thread may write to is copied before it is read.
  tagOf(view.buffer) === 'SharedArrayBuffer' ? view.slice() : view

let decoder

/** JSON as bytes, as text: no byte of it is left out, as none is of what is read where it lies. */
export function textOf(given, field) {
  const bytes = ownBytes(bytesOf(given, field, 'RequestInvalid'))
  try {
    decoder ??= new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    return decoder.decode(bytes)
  } catch (cause) {
    throw new TinyDancerError('RequestInvalid', field, cause.message, 'give UTF-8', { cause })
  }
}

const isBuffer = (given) => typeof Buffer !== 'undefined' && Buffer.isBuffer(given)

/** @returns {Float32Array} */
export function embeddingOf(given, field) {
  const numbers = numbersOf(given, field)
  // None are left in a buffer that was transferred away or shrunk; and none at all would be a question without an embedding.
  if (numbers.length === 0) throw new TinyDancerError('CandidateInvalid', field, '0 numbers', 'give at least one number')
  return numbers
}

function numbersOf(given, field) {
  const refused = (place, value) =>
    new TinyDancerError('CandidateInvalid', place, value, 'give a Float32Array, a list of numbers, or a Buffer of little-endian float32')
  if (isFloats(given)) return given.length === 0 ? given : ownBytes(given)
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
