// Goal: flag over environment over file; every refusal is one line that names the source, what was got, what is allowed.

import { expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigError } from '../errors.ts'
import { fleetOptions } from './fleet-options.ts'
import { nearest, type OptionSources, resolveOptions } from './resolve.ts'

const resolve = (sources: Partial<OptionSources>) =>
  resolveOptions(fleetOptions, { flags: {}, env: {}, file: {}, ...sources })

function refusal(sources: Partial<OptionSources>): string {
  try {
    resolve(sources)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    return (error as ConfigError).message
  }
  throw new Error('nothing was refused')
}

test('a flag wins over the environment, the environment over the file', () => {
  const file = { http: ':1', workers: 3, region: 'eu' }
  const env = { HTTP_ADDR: ':2', WORKERS: '4' }
  const options = resolve({ flags: { http: '127.0.0.1:3' }, env, file })
  expect(options.http).toEqual({ host: '127.0.0.1', port: 3 })
  expect(options.workers).toBe(4)
  expect(options.region).toBe('eu')
  expect(options.zone).toBeUndefined()
})

test('says where a bad value came from and what is allowed', () => {
  expect(refusal({ flags: { http: 'x:y:z' } })).toBe(
    '--http: got "x:y:z", expected host:port, :port or port, with a port from 0 to 65535',
  )
  expect(refusal({ env: { WORKERS: '0' } })).toBe('WORKERS: got "0", expected a whole number from 1 to 256')
  expect(refusal({ file: { mode: 'cluster' }, fileName: 'f.json' })).toStartWith('"mode" in f.json: got "cluster"')
  expect(refusal({ file: { mod: 'x' }, fileName: 'f.json' })).toBe('unknown key "mod" in f.json (did you mean "mode"?)')
})

test('never prints a secret', () => {
  const message = refusal({ flags: { 'cluster-secret': 'short-secret' } })
  expect(message).not.toContain('short-secret')
  expect(message).toContain('expected at least 32 characters')
})

test('reads secrets from files', () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-config-'))
  const path = join(dir, 'secret')
  writeFileSync(path, `${'s'.repeat(40)}\n`)
  expect(resolve({ flags: { 'cluster-secret-file': path } }).clusterSecret).toBe('s'.repeat(40))
  expect(resolve({ env: { CLUSTER_SECRET_FILE: path } }).clusterSecret).toBe('s'.repeat(40))
  expect(refusal({ env: { CLUSTER_SECRET_FILE: `${path}-none` } })).toContain(`cannot read ${path}-none`)
  rmSync(dir, { recursive: true })
})

test('reads lists, maps and ranges', () => {
  const options = resolve({
    flags: { 'raft-peers': 'cp-1=h1:7000,h2:7001', labels: 'disk=ssd,tier=a', 'worker-ports': '9000-9010' },
  })
  expect(options.raftPeers).toEqual([
    { id: 'cp-1', address: 'h1:7000' },
    { id: 'h2', address: 'h2:7001' },
  ])
  expect(options.labels).toEqual({ disk: 'ssd', tier: 'a' })
  expect(options.workerPorts).toEqual({ from: 9000, to: 9010 })
  expect(refusal({ flags: { 's3-prefix': 'a/../b' } })).toContain('--s3-prefix')
})

test('suggests only what is near', () => {
  expect(nearest('htpp', ['http', 'dir'])).toBe('http')
  expect(nearest('frobnicate', ['http', 'dir'])).toBeNull()
})
