// Goal: the tree stays what ARCHITECTURE.md says it is. Method: read every source file as text and check the import
// directions, the absence of cycles, and a few rules that no linter knows.

import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'

const root = join(import.meta.dir, '..')

interface Source {
  readonly path: string
  readonly text: string
  /** Relative to the root, resolved; packages are left out. */
  readonly imports: readonly string[]
}

function readSources(pattern: string): Source[] {
  return [...new Bun.Glob(pattern).scanSync({ cwd: root })].sort().map((path) => {
    const text = readFileSync(join(root, path), 'utf8')
    const specifiers = [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']+)'/g)].map((match) => match[1]!)
    return { path, text, imports: specifiers.map((each) => normalize(join(dirname(path), each))) }
  })
}

const sources = readSources('src/**/*.{ts,tsx}')
const product = sources.filter(({ path }) => !/\.test\.tsx?$/.test(path))

/** The folder that decides who may import a file: the first one below `src`, or the file itself. */
const layerOf = (path: string) => path.split('/')[1]!

/** What each layer may import; always downwards. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  'main.ts': ['cli'],
  'version.ts': [],
  'workers.ts': ['lib'],
  cli: ['cp', 'node', 'gw', 'ipc', 'replicate', 'hooks', 'lib', 'version.ts', 'workers.ts'],
  cp: ['ipc', 'replicate', 'hooks', 'lib', 'version.ts', 'workers.ts'],
  node: ['ipc', 'replicate', 'hooks', 'lib', 'version.ts', 'workers.ts'],
  gw: ['ipc', 'replicate', 'hooks', 'lib', 'version.ts', 'workers.ts'],
  ipc: ['lib', 'workers.ts'],
  replicate: ['lib', 'workers.ts'],
  hooks: ['lib', 'workers.ts'],
  lib: ['version.ts'],
}

const allowed = (from: string, to: string) => {
  const [a, b] = [layerOf(from), layerOf(to)]
  return a === b || (mayImport[a] ?? []).includes(b)
}

/** Inner directions: a file under `from` must not import one under `to`. */
const forbidden: readonly (readonly [from: string, to: string])[] = [
  ['src/node/engine/', 'src/node/api/'],
  ['src/node/engine/', 'src/node/tenants/'],
  ['src/node/tenants/', 'src/node/graphql/'],
  ['src/cp/services/', 'src/cp/api/'],
  ['src/cp/state/', 'src/cp/services/'],
  ['src/cp/state/', 'src/cp/raft/'],
  ['src/cp/raft/core/', 'src/cp/raft/driver.ts'],
  ['src/cp/raft/core/', 'src/cp/raft/storage/'],
  ['src/cp/raft/core/', 'src/cp/raft/transport/'],
  ['src/ui/', 'src/node/'],
]

test('there is something to check', () => {
  expect(product.length).toBeGreaterThan(30)
})

describe('imports', () => {
  test('point downwards between layers', () => {
    const broken = product.flatMap(({ path, imports }) =>
      imports.filter((each) => each.startsWith('src/') && !allowed(path, each)).map((each) => `${path} → ${each}`),
    )
    expect(broken).toEqual([])
  })

  test('point downwards inside a layer', () => {
    const broken = product.flatMap(({ path, imports }) =>
      imports
        .filter((each) => forbidden.some(([from, to]) => path.startsWith(from) && each.startsWith(to)))
        .map((each) => `${path} → ${each}`),
    )
    expect(broken).toEqual([])
  })

  test('the product never imports tests, benches or scripts', () => {
    const broken = product.flatMap(({ path, imports }) =>
      imports.filter((each) => /^(test|bench|scripts)\//.test(each)).map((each) => `${path} → ${each}`),
    )
    expect(broken).toEqual([])
  })

  test('form no cycle', () => {
    const byPath = new Map(product.map((source) => [source.path, source]))
    const state = new Map<string, 'open' | 'done'>()
    const cycles: string[] = []
    const visit = (path: string, trail: readonly string[]) => {
      if (state.get(path) === 'done') return
      if (state.get(path) === 'open') {
        cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
        return
      }
      state.set(path, 'open')
      for (const each of byPath.get(path)?.imports ?? []) visit(each, [...trail, path])
      state.set(path, 'done')
    }
    for (const { path } of product) visit(path, [])
    expect(cycles).toEqual([])
  })

  test('end in their extension, and no file is a barrel', () => {
    const broken = sources.flatMap(({ path, text }) =>
      [...text.matchAll(/\bfrom\s+'(\.[^']+)'/g)]
        .map((match) => match[1]!)
        .filter((each) => !/\.[a-z]+$/.test(each))
        .map((each) => `${path}: ${each}`),
    )
    expect(broken).toEqual([])
    expect(sources.map(({ path }) => path).filter((path) => /\/(index|utils)\.tsx?$/.test(path))).toEqual([])
  })
})

describe('only their owners touch', () => {
  /** Text that may stand in these files alone. */
  const owned: readonly (readonly [what: string, pattern: RegExp, owners: RegExp])[] = [
    ['the system clock', /\bDate\.now\(|\bperformance\.now\(|\bsetTimeout\(|\bsetInterval\(/, /^src\/lib\/clock\.ts$/],
    ['randomness', /\bMath\.random\(|\bcrypto\.getRandomValues\(/, /^src\/lib\/rng\.ts$/],
    ['npm rocksdb', /from 'rocksdb'|require\('rocksdb'\)/, /^src\/cp\/rocks\//],
    ['libzmq', /\bzmq_[a-z_]+\b/, /^src\/ipc\/(zmq\/|keys\.ts)/],
    ['default exports', /^export default\b/m, /^$/],
  ]
  for (const [what, pattern, owners] of owned) {
    test(what, () => {
      const strip = (text: string) => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:])\/\/.*$/gm, '$1')
      const broken = product.filter(({ path, text }) => !owners.test(path) && pattern.test(strip(text)))
      expect(broken.map(({ path }) => path)).toEqual([])
    })
  }
})

test('documents name only files that exist', () => {
  const documents = [...new Bun.Glob('{*.md,docs/**/*.md}').scanSync({ cwd: root })]
  const broken = documents.flatMap((document) => {
    const text = readFileSync(join(root, document), 'utf8')
    return [...text.matchAll(/`((?:src|test|bench|docs|scripts|compose|\.ci)\/[\w./-]+\.\w+)`/g)]
      .map((match) => match[1]!)
      .filter((path) => !Bun.file(join(root, path)).size)
      .map((path) => `${relative(root, document)}: ${path}`)
  })
  expect(broken).toEqual([])
})
