// The package where there is neither Node nor its files: browsers, workers at the edge. The engine is the WebAssembly module.

import { use } from './api.js'
import { TinyDancerError } from './instance.js'
import { engineOf } from './wasm.js'

const noFiles = (given, field) => {
  throw new TinyDancerError('OptionInvalid', field, String(given), 'there are no files here: give bytes, as artifact or encoder')
}

const platform = {
  readFile: noFiles,
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
  let given = await source
  if (!(given instanceof WebAssembly.Module)) {
    if (typeof given === 'string') given = new URL(given, globalThis.location?.href)
    if (given instanceof URL) given = await fetch(given)
    if (typeof Response !== 'undefined' && given instanceof Response) {
      if (!given.ok) {
        throw new TinyDancerError('ModuleMissing', 'source', `${given.status} ${given.url}`, 'serve tiny-dancer.wasm there')
      }
      given = await given.arrayBuffer()
    }
    given = await WebAssembly.compile(given)
  }
  use(engineOf(given), platform)
}
