// Routes what is typed, by the module for the edge and the artifact without encoder that lie beside this page.

import { edge, init, Router } from './index.js'

const at = (id) => document.getElementById(id)
const request = at('request')

async function load() {
  const begun = performance.now()
  const [artifact] = await Promise.all([
    fetch('edge.safetensors').then((answer) => {
      if (!answer.ok) throw new Error(`${answer.url}: ${answer.status}`)
      return answer.arrayBuffer()
    }),
    init(edge),
  ])
  const router = new Router(artifact)
  return { router, ready: performance.now() - begun, bytes: artifact.byteLength }
}

function row(name, quality, chosen) {
  const term = document.createElement('dt')
  term.textContent = name
  const bar = document.createElement('dd')
  const meter = document.createElement('meter')
  Object.assign(meter, { min: 0, max: 1, value: quality })
  meter.setAttribute('aria-label', `quality expected of ${name}`)
  bar.append(meter)
  const number = document.createElement('dd')
  number.className = 'number'
  number.textContent = quality.toFixed(3) + (chosen ? ' ✓' : '')
  return [term, bar, number]
}

function show(decision) {
  at('model').textContent = decision.model
  at('scores').replaceChildren(
    ...Object.entries(decision.scores).flatMap(([name, quality]) => row(name, quality, name === decision.model)),
  )
  const note = decision.guarantee_note ? ` Note: ${decision.guarantee_note}.` : ''
  at('why').textContent = `${decision.reason.replaceAll('_', ' ')}, ${decision.tokens} tokens.${note}`
}

// Clocks of browsers are coarse, and the first calls run before the browser has optimised the module: the fastest of some
// rounds is what a decision takes.
function microseconds(router, text) {
  let least = Infinity
  const end = performance.now() + 30
  while (performance.now() < end) {
    const begun = performance.now()
    let calls = 0
    do {
      router.decide(text)
      calls += 1
    } while (performance.now() - begun < 2)
    least = Math.min(least, (performance.now() - begun) / calls)
  }
  return least * 1000
}

let paused
function decide({ router, ready, bytes }) {
  const problem = at('problem')
  problem.hidden = true
  at('answer').hidden = true
  clearTimeout(paused)
  const text = request.value
  if (text.trim() === '') return
  try {
    show(router.decide(text))
    at('answer').hidden = false
    // Once nobody types, so that typing never waits for it.
    paused = setTimeout(() => {
      at('facts').textContent =
        `decided in ${Math.round(microseconds(router, text))} µs · ready after ${Math.round(ready)} ms · artifact of ${Math.round(bytes / 1024)} KiB, version ${router.decide(text).artifact_version}`
    }, 200)
  } catch (error) {
    problem.textContent = error.message
    problem.hidden = false
  }
}

try {
  const loaded = await load()
  request.disabled = false
  request.addEventListener('input', () => decide(loaded))
  for (const button of document.querySelectorAll('button')) {
    button.addEventListener('click', () => {
      request.value = button.textContent
      decide(loaded)
      request.focus()
    })
  }
  decide(loaded)
} catch (error) {
  at('problem').textContent = `The engine could not be loaded: ${error.message}`
  at('problem').hidden = false
  at('facts').textContent = ''
}
