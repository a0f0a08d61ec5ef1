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
    const url = new URL('tiny-dancer.wasm', import.meta.url)
    // Vite's development server serves scripts of packages from a folder of its own, without what lies beside them.
    return new URL(url.href.replace('/node_modules/.vite/deps/', '/node_modules/tiny-dancer/'))
  } catch {
    return undefined
  }
}

/** Compiles the module: the one beside this file, or what is given. */
export const init = (source = beside()) => compile(source)
