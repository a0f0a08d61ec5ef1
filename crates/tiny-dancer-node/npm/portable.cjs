// What test runners and old bundlers require for a browser: `await init(module, bytes or URL of tiny-dancer.wasm)` first.

'use strict'

const { api: { use, ...api }, portable: { compile } } = require('./lib.cjs')

const remedy = 'give where tiny-dancer.wasm is, its bytes, or a module'

module.exports = {
  ...api,
  backend: 'wasm',
  backendReason: 'no native module is loaded outside Node',
  init: async (source) => {
    if (source === undefined) throw new api.TinyDancerError('ModuleMissing', 'source', 'not given', remedy)
    await compile(source)
  },
}
