// Whether the package that is installed in the present folder decides, and by which engine:
//
//     node smoke.mjs native|wasm

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const { backend, backendReason, Router } = createRequire(join(process.cwd(), 'package.json'))('tiny-dancer')
const { model, reason } = new Router().decide('Prove that there are infinitely many primes.')
assert.ok(model.length > 0 && reason.length > 0)
assert.equal(backend, process.argv[2], backendReason)
console.log(backend, backendReason, model, reason)
