// Goal: settings survive a restart, in the clear and encrypted, and are in use only once they are committed.
// Method: a real database file; rows are looked at as another program would.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SimClock } from '../../../lib/clock.ts'
import { systemRng } from '../../../lib/rng.ts'
import { Database } from '../db/database.ts'
import { SettingsEncryptionError } from './encryption.ts'
import { defaultSettings, type Settings } from './settings.ts'
import { SettingsStore, SettingsUnreadableError } from './store.ts'

let folder: string
let database: Database
const clock = new SimClock()

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'settings-'))
  database = Database.open({ path: join(folder, 'data.db'), checkpoint: 'sqlite' })
  await database.transaction(() =>
    database.exec(
      "CREATE TABLE `_params` (`id` TEXT PRIMARY KEY, `value` JSON DEFAULT NULL, `created` TEXT DEFAULT '' NOT NULL, `updated` TEXT DEFAULT '' NOT NULL)",
    ),
  )
})
afterEach(async () => {
  await database.close()
  rmSync(folder, { recursive: true })
})

const open = (encryptionKey: string | null = null) =>
  SettingsStore.open({ database, clock, rng: systemRng, encryptionKey })
const named = (appName: string): Settings => ({ ...defaultSettings, meta: { ...defaultSettings.meta, appName } })
const row = () =>
  database.get<{ value: string; kind: string; created: string; updated: string }>(
    'SELECT CAST(value AS TEXT) AS value, typeof(value) AS kind, created, updated FROM _params',
  )!

test('stores the defaults once, then what was saved', async () => {
  const store = await open()
  expect(store.current).toEqual(defaultSettings)
  const { kind, created } = row()
  expect(kind).toBe('blob')
  await clock.advance(5000)
  await store.save(named('<a & b>'))
  expect(row()).toMatchObject({ created, updated: new Date(clock.now()).toISOString().replace('T', ' ') })
  expect(row().value).toContain('"\\u003ca \\u0026 b\\u003e"')
  expect((await open()).current).toEqual(named('<a & b>'))
})

test('is in use after the commit, and not after a rollback', async () => {
  const store = await open()
  const seen: string[] = []
  const stop = store.onChange(({ meta }) => seen.push(meta.appName))
  await expect(
    database.transaction(async () => {
      await store.save(named('lost'))
      expect(store.current.meta.appName).toBe('Acme')
      throw new Error('rolled back')
    }),
  ).rejects.toThrow('rolled back')
  expect(store.current.meta.appName).toBe('Acme')
  await store.save(named('kept'))
  stop()
  await store.save(named('unseen'))
  expect(seen).toEqual(['kept'])
})

test('encrypted settings open with their key alone', async () => {
  const key = 'k'.repeat(32)
  await (await open()).save(named('clear'))
  expect((await open(key)).current.meta.appName).toBe('clear') // switching encryption on reads what is there
  await (await open(key)).save(named('sealed'))
  expect(row()).toMatchObject({ kind: 'text', value: expect.not.stringContaining('sealed') })
  expect((await open(key)).current.meta.appName).toBe('sealed')
  await expect(open()).rejects.toBeInstanceOf(SettingsUnreadableError)
  await expect(open('x'.repeat(32))).rejects.toBeInstanceOf(SettingsEncryptionError)
})

test('damaged settings are an error, never the defaults', async () => {
  await open()
  for (const value of ['{', '[]', '{"meta":5}']) {
    await database.transaction(() => database.run('UPDATE _params SET value = ?', [value]))
    await expect(open()).rejects.toBeInstanceOf(SettingsUnreadableError)
  }
})
