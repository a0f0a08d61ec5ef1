// Generates npm/index.d.ts and npm/index.d.cts from the comments of npm/lib, by the compiler of TypeScript:
//
//     node types.mjs DEVELOPMENT [--check]
//
// DEVELOPMENT is where development/package.json was installed. With --check nothing is written, and a difference fails.

import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const [development, check] = process.argv.slice(2)
const ts = createRequire(resolve(development, 'package.json'))('typescript')

const HEAD = `// Generated from lib by \`make node-types\`.

/** What every error is. \`code\` is a kind of the engine's, or what kept the engine from being asked. */
export class TinyDancerError extends Error {
    readonly code:
        | 'ArtifactInvalid' | 'ArtifactVersion' | 'ArtifactChecksum' | 'ArtifactSelfCheck' | 'EncoderMissing'
        | 'RequestInvalid' | 'OptionInvalid' | 'NoFeasibleModel' | 'CandidateInvalid'
        | 'NotInitialised' | 'ModuleMissing' | 'EngineStopped';
    /** What is at fault. */
    readonly field: string;
    /** What was found there. */
    readonly value: string;
    /** What to do about it. */
    readonly remedy: string;
}
/** Which engine answers. */
export const backend: 'native' | 'wasm';
/** The native module's package; or why there is none under it. */
export const backendReason: string;
/**
 * Compiles the WebAssembly module, from \`tiny-dancer.wasm\` beside the package or from what is given: to be awaited once
 * where the package runs outside Node. In Node nothing is left to do.
 */
export function init(source?: URL | string | ArrayBuffer | Uint8Array | object | Promise<object>): Promise<void>;
`

/** Files of npm/lib whose types are the package's. */
const SHOWN = ['shapes', 'router', 'kept', 'routes', 'sets']

function generated() {
  const folder = mkdtempSync(join(tmpdir(), 'tiny-dancer-types-'))
  try {
    const own = join(here, 'npm', 'lib')
    const vendored = join(here, '..', 'tiny-dancer-wasm', 'js')
    for (const file of readdirSync(own)) copyFileSync(join(own, file), join(folder, file))
    for (const file of ['given.js', 'instance.js']) copyFileSync(join(vendored, file), join(folder, file))
    const options = {
      allowJs: true, declaration: true, emitDeclarationOnly: true, strict: true, skipLibCheck: true, types: ['node'],
      typeRoots: [resolve(development, 'node_modules', '@types')], target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ES2022, moduleResolution: ts.ModuleResolutionKind.Bundler, newLine: ts.NewLineKind.LineFeed,
      moduleDetection: ts.ModuleDetectionKind.Force,
    }
    const texts = new Map()
    ts.createProgram(SHOWN.map((name) => join(folder, `${name}.js`)), options).emit(undefined, (file, content) => {
      texts.set(basename(file, '.d.ts'), content)
    })
    // In one file they need not import each other.
    const whole = SHOWN.map((name) => texts.get(name).replace(/^(import .*|export \{\};|\/\*\* @import .*)\n/gm, ''))
    return HEAD + whole.join('')
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const text = generated()
for (const name of ['index.d.ts', 'index.d.cts']) {
  const path = join(here, 'npm', name)
  if (check === undefined) {
    writeFileSync(path, text)
  } else if (readFileSync(path, 'utf8') !== text) {
    console.error(`${name} is not what lib gives: make node-types`)
    process.exitCode = 1
  }
}
