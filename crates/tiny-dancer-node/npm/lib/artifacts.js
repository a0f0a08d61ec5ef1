// Artifacts and the encoders they name.

import { call, host, made } from './engine.js'
import { bytesOf, kindOf, objectOf } from './given.js'
import { tagOf, TinyDancerError } from './instance.js'
import { ownBytes } from './numbers.js'

export const ARTIFACT = ['modelPath', 'artifact', 'encoderPath', 'encoder']

/** Bytes from a file or as they are; undefined where neither is given. */
export function source(config, path, bytes) {
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
  const read = host().readFile(named, path)
  // No bytes would be no artifact, and the WebAssembly module would serve what needs none.
  if (read.byteLength === 0) throw new TinyDancerError('ArtifactInvalid', path, `${named}: 0 bytes`, 'this is no artifact: it is too short')
  return read
}

/** What an artifact's header says; an empty one where there is none to read: the engine says why. */
export function headerOf(artifact) {
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

export function encoderFor(config, artifact) {
  let bytes = source(config, 'encoderPath', 'encoder')
  if (bytes === undefined && artifact !== undefined) {
    const header = headerOf(artifact)
    const wanted = header.features?.encoder ?? header.encoder?.checksum ?? header.encoder
    if (typeof wanted === 'string') {
      bytes = host().encoder(wanted)
      if (bytes === undefined) throw new TinyDancerError('EncoderMissing', 'encoder', wanted, host().remedy)
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

export function artifactOf(config, what) {
  const found = source(config, 'modelPath', 'artifact')
  if (found === undefined) throw new TinyDancerError('OptionInvalid', 'modelPath', 'not given', `give modelPath or artifact: ${what}`)
  return found
}
