// The package where there is neither Node nor its files: browsers, workers at the edge. The engine is the WebAssembly module.

import { use } from './api.js'
import { moduleOf, TinyDancerError } from './instance.js'
import { engineOf } from './wasm.js'

const noFiles = (given, field) => {
  throw new TinyDancerError('OptionInvalid', field, String(given), 'there are no files here: give bytes, as artifact or encoder')
}

const platform = {
  readFile: noFiles,
  absolute: (given) => given,
  artifact: () => {
    throw new TinyDancerError(
      'OptionInvalid', 'artifact', 'not given', 'fetch tiny-dancer/edge.safetensors, or another one, and give its bytes',
    )
  },
  encoder: () => undefined,
  remedy: 'give the bytes of the encoder with this checksum, as encoder',
}

/**
 * Compiles the module of what is given: a module, bytes, a response, or where to fetch it.
 * @param {any} source
 */
export async function compile(source) {
  use(engineOf(await moduleOf(source)), platform)
}
