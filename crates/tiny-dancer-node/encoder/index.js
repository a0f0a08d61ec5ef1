// Where the files are: for `encoderPath` and `modelPath`.

'use strict'

const { join } = require('node:path')

const at = (name) => join(__dirname, `${name}.safetensors`)

exports.models = at('default')
exports.encoder = at('encoder')
exports.sentences = at('sentences')
exports.tasks = at('tasks')
