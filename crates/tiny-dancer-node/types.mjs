// Generates npm/index.d.ts and npm/index.d.cts from the comments of npm/lib/api.js, by the compiler of TypeScript:
//
//     node types.mjs DEVELOPMENT [--check]
//
// DEVELOPMENT is where development/package.json was installed. With --check nothing is written, and a difference fails.

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const [development, check] = process.argv.slice(2)
const ts = createRequire(resolve(development, 'package.json'))('typescript')

const HEAD = `// Generated from lib/api.js by \`make node-types\`.

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

function generated() {
  const folder = mkdtempSync(join(tmpdir(), 'tiny-dancer-types-'))
  try {
    mkdirSync(join(folder, 'lib'))
    const api = join(folder, 'lib', 'api.js')
    copyFileSync(join(here, 'npm', 'lib', 'api.js'), api)
    for (const file of ['given.js', 'instance.js']) {
      copyFileSync(join(here, '..', 'tiny-dancer-wasm', 'js', file), join(folder, 'lib', file))
    }
    const options = {
      allowJs: true, declaration: true, emitDeclarationOnly: true, strict: true, skipLibCheck: true, types: ['node'],
      typeRoots: [resolve(development, 'node_modules', '@types')], target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ES2022, moduleResolution: ts.ModuleResolutionKind.Bundler, newLine: ts.NewLineKind.LineFeed,
    }
    let text
    ts.createProgram([api], options).emit(undefined, (file, content) => {
      if (file.endsWith('api.d.ts')) text = content
    })
    const removed = [
      /\/\*\*(?:(?!\*\/)[^])*@internal(?:(?!\*\/)[^])*\*\/\nexport function use\(.*\n/,
      /^export \{ TinyDancerError \};\n/m,
      /^import .*\n/m,
    ]
    for (const each of removed) {
      const kept = text.replace(each, '')
      if (kept === text) throw new Error(`nothing matches ${each}`)
      text = kept
    }
    return HEAD + text
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
    console.error(`${name} is not what lib/api.js gives: make node-types`)
    process.exitCode = 1
  }
}
