// What a user of the package meets, over whichever engine was loaded: the native module or the WebAssembly module.
// `index.d.ts` is generated from these files and `shapes.js` (`make node-types`).

export { use } from './engine.js'
export { TinyDancerError } from './instance.js'
export { CandidateRouter } from './kept.js'
export { Router } from './router.js'
export { SemanticRouter } from './routes.js'
export { AgentRouter, TaskClassifier, ToolSelector } from './sets.js'
