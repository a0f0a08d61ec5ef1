// ES modules of Node share the classes of `require`: an error thrown by one is an instance of the other's.

import loaded from './index.cjs'

export const {
  AgentRouter, CandidateRouter, Router, SemanticRouter, TaskClassifier, TinyDancerError, ToolSelector,
  backend, backendReason, init,
} = loaded
