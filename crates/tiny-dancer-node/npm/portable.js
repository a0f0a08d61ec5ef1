// What a browser or a worker imports: `await init()` first.

import { compile } from './lib/portable.js'

export {
  AgentRouter, CandidateRouter, Router, SemanticRouter, TaskClassifier, TinyDancerError, ToolSelector,
} from './lib/api.js'

export const backend = 'wasm'
export const backendReason = 'no native module is loaded outside Node'

/** Where the module lies; nowhere where scripts have no address, as in a Worker. */
function beside() {
  try {
    return new URL('tiny-dancer.wasm', import.meta.url)
  } catch {
    return undefined
  }
}

/** Compiles the module: the one beside this file, or what is given. */
export const init = (source = beside()) => compile(source)
