// The package in Node: over the native module of this platform, or over the WebAssembly module where none can be loaded.

'use strict'

const { closeSync, existsSync, openSync, readFileSync, readSync, statSync } = require('node:fs')
const { dirname, join, resolve } = require('node:path')
const { fileURLToPath } = require('node:url')
const zlib = require('node:zlib')

const { api: { use, ...api }, wasm: { engineOf } } = require('./lib.cjs')
const { version } = require('./package.json')

const { TinyDancerError } = api

/** The beginning of a file. */
function headOf(file) {
  const opened = openSync(file)
  try {
    const head = Buffer.alloc(4096)
    return head.toString('latin1', 0, readSync(opened, head))
  } finally {
    closeSync(opened)
  }
}

/** Which C library this process has: a module made for the other one may crash it when it is loaded. */
function libc() {
  // The one that a program wants stands at its beginning; else the system's is told by what lists those of others.
  for (const file of [process.execPath, '/usr/bin/ldd']) {
    try {
      const said = headOf(file)
      if (said.includes('musl')) return 'musl'
      if (/ld-linux|GNU/.test(said)) return 'gnu'
    } catch {
      // There is none to read.
    }
  }
  const report = process.report
  if (report === undefined) return existsSync('/etc/alpine-release') ? 'musl' : 'gnu'
  const { excludeNetwork } = report
  // Names of the peers of open connections would be looked up, which may take seconds.
  report.excludeNetwork = true
  const { header } = report.getReport()
  report.excludeNetwork = excludeNetwork
  return header.glibcVersionRuntime === undefined ? 'musl' : 'gnu'
}

function platformName() {
  const { platform, arch } = process
  if (platform === 'linux') return `linux-${arch}-${libc()}`
  if (platform === 'win32') return `win32-${arch}-msvc`
  return `${platform}-${arch}`
}

/** The CRC-32 of a file's bytes; undefined where this Node (before 20.15) has none. */
function checksumOf(file) {
  if (zlib.crc32 === undefined) return undefined
  const opened = openSync(file)
  try {
    const some = Buffer.allocUnsafe(1 << 16)
    let sum = 0
    for (let length = readSync(opened, some); length > 0; length = readSync(opened, some)) sum = zlib.crc32(some.subarray(0, length), sum)
    return sum
  } finally {
    closeSync(opened)
  }
}

/**
 * Where a platform's native module is; undefined where it is not installed. Name by name, so that what gathers the files of a
 * server finds the one that is here; and within `try`, so that a bundler does without the others.
 */
function moduleFor(platform) {
  try {
    switch (platform) {
      case 'linux-x64-gnu': return require.resolve('tiny-dancer-linux-x64-gnu')
      case 'linux-x64-musl': return require.resolve('tiny-dancer-linux-x64-musl')
      case 'linux-arm64-gnu': return require.resolve('tiny-dancer-linux-arm64-gnu')
      case 'linux-arm64-musl': return require.resolve('tiny-dancer-linux-arm64-musl')
      case 'darwin-x64': return require.resolve('tiny-dancer-darwin-x64')
      case 'darwin-arm64': return require.resolve('tiny-dancer-darwin-arm64')
      case 'win32-x64-msvc': return require.resolve('tiny-dancer-win32-x64-msvc')
      case 'win32-arm64-msvc': return require.resolve('tiny-dancer-win32-arm64-msvc')
      default: return undefined
    }
  } catch {
    return undefined
  }
}

/** The native module; throws why there is none that can be used. */
function native() {
  const platform = platformName()
  const name = `tiny-dancer-${platform}`
  const file = moduleFor(platform)
  if (file === undefined) throw new Error(`${name} is not installed`)
  const { size, crc32, version: found } = JSON.parse(readFileSync(join(dirname(file), 'package.json'), 'utf8'))
  if (found !== version) throw new Error(`${name} is of version ${found}, this package of ${version}`)
  // A file that was cut off, or of which a block was lost, may crash the process when it is mapped.
  const bytes = statSync(file).size
  if (bytes !== size) throw new Error(`${file} has ${bytes} bytes, not ${size}: install it again`)
  if ((checksumOf(file) ?? crc32) !== crc32) throw new Error(`${file} is damaged: install it again`)
  const loaded = require(file)
  if (loaded.version() !== version) throw new Error(`${file} is of version ${loaded.version()}`)
  return [loaded, name]
}

/** What to do where a file of the package itself is missing. */
const whole = 'install the package again; keep it out of bundles, as an external module'

function load() {
  const wanted = process.env.TINY_DANCER_BACKEND || 'native'
  if (wanted !== 'native' && wanted !== 'wasm') {
    throw new TinyDancerError('OptionInvalid', 'TINY_DANCER_BACKEND', wanted, 'say native or wasm, or nothing')
  }
  let why = 'TINY_DANCER_BACKEND says so'
  if (wanted === 'native') {
    try {
      const [engine, name] = native()
      return { engine, backend: 'native', backendReason: name }
    } catch (error) {
      why = error.message
    }
  }
  const file = join(__dirname, 'tiny-dancer.wasm')
  try {
    const engine = engineOf(new WebAssembly.Module(readFileSync(file)))
    return { engine, backend: 'wasm', backendReason: why }
  } catch (cause) {
    throw new TinyDancerError('ModuleMissing', 'tiny-dancer.wasm', `${cause.message} (native: ${why})`, whole, { cause })
  }
}

function readFile(path, field, remedy = 'give the path of a file that can be read') {
  let file = path
  try {
    file = typeof path !== 'string' || path.startsWith('file:') ? fileURLToPath(path) : path
    return readFileSync(file)
  } catch (cause) {
    throw new TinyDancerError('ArtifactInvalid', field, `${file}: ${cause.code ?? cause.message}`, remedy, { cause })
  }
}

/** A path that stays what it is when the present folder becomes another. */
function absolute(path) {
  if (typeof path !== 'string' || path === '' || path.startsWith('file:')) return path
  try {
    return resolve(path)
  } catch {
    // The present folder is gone: reading says that there is no such file.
    return path
  }
}

/** Encoders of the package `tiny-dancer-encoder`, by checksum, once they were asked for. */
const encoders = new Map()

function encoder(checksum) {
  if (encoders.has(checksum)) return encoders.get(checksum)
  let described
  try {
    described = require.resolve('tiny-dancer-encoder/package.json')
  } catch {
    return undefined
  }
  // The checksum is what an artifact says: it may be the name of anything.
  const files = new Map(Object.entries(JSON.parse(readFileSync(described, 'utf8')).encoders))
  if (!files.has(checksum)) return undefined
  encoders.set(checksum, readFile(join(dirname(described), files.get(checksum)), 'encoder'))
  return encoders.get(checksum)
}

const { engine, backend, backendReason } = load()
const remedy = 'npm install tiny-dancer-encoder, or give the encoder with this checksum as encoderPath or encoder'
use(engine, { readFile, absolute, encoder, remedy, artifact: () => readFile(join(__dirname, 'edge.safetensors'), 'artifact', whole) })

module.exports = {
  ...api,
  backend,
  backendReason,
  /** Nothing is left to do in Node; elsewhere the module has to be compiled first. */
  init: async () => {},
}
