// Puts the packages together, each a folder ready for `npm pack`:
//
//     node assemble.mjs OUT WASM [PLATFORM NATIVE]
//
// OUT/tiny-dancer and OUT/tiny-dancer-encoder; with a platform (as linux-x64-gnu, or here) and its native module also
// OUT/tiny-dancer-PLATFORM. CommonJS is made of the ES modules in npm/lib, which keep to what `commonJs` reads. Nothing is
// fetched.

import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { crc32 } from 'node:zlib'

/** What npm calls each platform that has a native module; npm/index.cjs names them, too. */
export const PLATFORMS = {
  'linux-x64-gnu': { os: ['linux'], cpu: ['x64'], libc: ['glibc'] },
  'linux-x64-musl': { os: ['linux'], cpu: ['x64'], libc: ['musl'] },
  'linux-arm64-gnu': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'] },
  'linux-arm64-musl': { os: ['linux'], cpu: ['arm64'], libc: ['musl'] },
  'darwin-x64': { os: ['darwin'], cpu: ['x64'] },
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'] },
  'win32-x64-msvc': { os: ['win32'], cpu: ['x64'] },
  'win32-arm64-msvc': { os: ['win32'], cpu: ['arm64'] },
}

const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '..', '..')
const data = join(root, 'python', 'tiny_dancer', 'data')
const NATIVE = 'tiny-dancer.node'
/** The artifact that needs no encoder. */
const SHIPPED = 'edge.safetensors'

/** An ES module as a function that makes its exports. It may import and export names, and declare what it exports; else it is refused. */
function moduleOf(source) {
  const exported = []
  const text = source
    .replace(/^(import|export) (\{[^}]*\}) from '\.\/(\w+)\.js'$/gm, (_, word, names, from) => {
      if (word === 'export') exported.push(...names.slice(1, -1).split(',').map((name) => name.trim()).filter(Boolean))
      return `const ${names} = modules.${from}`
    })
    .replace(/^export \{ ([\w, ]+) \}$/gm, (_, names) => {
      exported.push(...names.split(', '))
      return ''
    })
    .replace(/^export ((?:async )?function|class|const) (\w+)/gm, (_, kind, name) => {
      exported.push(name)
      return `${kind} ${name}`
    })
  const left = /^(import|export)\b.*|import\.meta.*|\bimport\(.*/m.exec(text)
  if (left !== null) throw new Error(`cannot be made CommonJS: ${left[0]}`)
  return `() => {\n${text}\nreturn { ${exported.join(', ')} }\n}`
}

/** The ES modules of a folder as CommonJS, in one file: Node takes longer to find one than to run it. */
export function commonJs(folder) {
  const done = new Set()
  const parts = []
  const add = (name) => {
    if (done.has(name)) return
    done.add(name)
    const source = readFileSync(join(folder, `${name}.js`), 'utf8')
    for (const [, from] of source.matchAll(/ from '\.\/(\w+)\.js'$/gm)) add(from)
    parts.push(`modules.${name} = (${moduleOf(source)})()`)
  }
  for (const file of readdirSync(folder)) add(file.replace(/\.js$/, ''))
  return `'use strict'\n\nconst modules = module.exports\n\n${parts.join('\n\n')}\n`
}

function write(folder, described) {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(described, null, 2)}\n`)
  for (const name of ['LICENSE', 'NOTICE']) copyFileSync(join(root, name), join(folder, name))
}

function fresh(out, name) {
  const folder = join(out, name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  return folder
}

/** The platform this runs on. */
function platformHere() {
  const { platform, arch, report } = process
  if (platform === 'linux') return `linux-${arch}-${report.getReport().header.glibcVersionRuntime ? 'gnu' : 'musl'}`
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`
}

function main(out, wasm, given, native) {
  const [, version] = /^version = "(.+)"$/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))
  const platform = given === 'here' ? platformHere() : given
  const described = (from) => ({ ...JSON.parse(readFileSync(join(here, from, 'package.json'), 'utf8')), version })

  const folder = fresh(out, 'tiny-dancer')
  // The types in shapes.js are those of index.d.ts.
  cpSync(join(here, 'npm'), folder, { recursive: true, filter: (path) => !/[\\/](test|node_modules|shapes\.js)$/.test(path) })
  copyFileSync(join(here, 'README.md'), join(folder, 'README.md'))
  for (const file of ['given.js', 'instance.js']) {
    copyFileSync(join(root, 'crates', 'tiny-dancer-wasm', 'js', file), join(folder, 'lib', file))
  }
  copyFileSync(wasm, join(folder, 'tiny-dancer.wasm'))
  copyFileSync(join(data, SHIPPED), join(folder, SHIPPED))
  writeFileSync(join(folder, 'lib.cjs'), commonJs(join(folder, 'lib')))
  const optionalDependencies = Object.fromEntries(Object.keys(PLATFORMS).map((name) => [`tiny-dancer-${name}`, version]))
  // Named as what it may find beside it, so that package managers that keep packages apart let it look.
  const peers = {
    peerDependencies: { 'tiny-dancer-encoder': version },
    peerDependenciesMeta: { 'tiny-dancer-encoder': { optional: true } },
  }
  write(folder, { ...described('npm'), ...peers, optionalDependencies })

  const encoder = fresh(out, 'tiny-dancer-encoder')
  for (const name of ['index.js', 'index.d.ts', 'README.md']) copyFileSync(join(here, 'encoder', name), join(encoder, name))
  const encoders = {}
  for (const name of ['encoder', 'sentences', 'tasks', 'default']) {
    const file = `${name}.safetensors`
    copyFileSync(join(data, file), join(encoder, file))
    if (name === 'encoder' || name === 'sentences') encoders[checksum(readFileSync(join(data, file)))] = file
  }
  write(encoder, { ...described('encoder'), encoders })

  if (platform === undefined) return
  const { libc, ...where } = PLATFORMS[platform]
  const own = fresh(out, `tiny-dancer-${platform}`)
  copyFileSync(native, join(own, NATIVE))
  const { license, repository } = described('npm')
  const description = `The native module of the package tiny-dancer for ${platform}`
  const bytes = readFileSync(native)
  const name = `tiny-dancer-${platform}`
  // A library is loaded from a file of its own: Yarn is not to leave it in its archive.
  const files = { main: NATIVE, files: [NATIVE, 'NOTICE'], preferUnplugged: true, size: bytes.length, crc32: crc32(bytes) }
  write(own, { name, version, description, license, repository, ...files, ...where, ...(libc && { libc }) })
}

/** What an encoder's header says is its checksum. */
function checksum(bytes) {
  const length = Number(bytes.readBigUInt64LE(0))
  return JSON.parse(bytes.toString('utf8', 8, 8 + length)).__metadata__.sha256
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(...process.argv.slice(2))
