// What a browser or a worker imports: `await init()` first.

import { compile } from './lib/portable.js'

export {
  AgentRouter, CandidateRouter, Router, SemanticRouter, TaskClassifier, TinyDancerError, ToolSelector,
} from './lib/api.js'

export const backend = 'wasm'
export const backendReason = 'no native module is loaded outside Node'

/** Compiles the module: the one beside this file, or what is given. */
export const init = (source = new URL('tiny-dancer.wasm', import.meta.url)) => compile(source)
