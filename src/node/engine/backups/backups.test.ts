// Goal: a backup holds one moment of the whole tenant, comes back as it was, and no archive harms what is outside it.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { createWriteStream, existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { ZipFile } from 'yazl'
import { saveUser } from '../../../../test/support/engine.ts'
import { startMailServer } from '../../../../test/support/mail-server.ts'
import { systemClock } from '../../../lib/clock.ts'
import { silentLogger } from '../../../lib/obs/log.ts'
import { systemRng } from '../../../lib/rng.ts'
import { PasswordQueue } from '../auth/password.ts'
import type { Database } from '../db/database.ts'
import { type Engine, openEngine } from '../engine.ts'
import { LocalStorage } from '../files/local-storage.ts'
import { UploadedFile } from '../files/uploaded-file.ts'
import { createBackup, exportTo, runAutoBackup } from './backups.ts'
import { allowRestore, checkPbData, NotPbDataError, restoreBackup, swapContents } from './restore.ts'
import { BackupBusyError } from './running.ts'
import { ArchiveError, archiveNames, packArchive, unpackArchive } from './zip.ts'

let root: string
let engine: Engine

const open = (dir: string) =>
  openEngine({
    dir,
    clock: systemClock,
    rng: systemRng,
    log: silentLogger,
    passwords: new PasswordQueue().lane(),
    files: new LocalStorage(join(dir, 'storage')),
    checkpoint: 'sqlite',
  })

const upload = (text: string) =>
  new UploadedFile({
    originalName: 'a.txt',
    name: 'a.txt',
    sizeBytes: text.length,
    contentType: 'text/plain',
    content: { bytes: new TextEncoder().encode(text) },
  })

const setNote = (value: string) =>
  engine.data.transaction(() => {
    engine.data.exec('CREATE TABLE IF NOT EXISTS notes (v TEXT)')
    engine.data.run('DELETE FROM notes')
    engine.data.run('INSERT INTO notes VALUES (?)', [value])
  })
const note = (db: Database) => db.get<{ v: string }>('SELECT v FROM notes')?.v

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pf-backup-'))
  engine = await open(join(root, 'pb_data'))
})
afterEach(async () => {
  await engine.close()
  await rm(root, { recursive: true, force: true })
})

test('a backup holds databases and files, and is imported elsewhere as it was', async () => {
  await setNote('one')
  await engine.files.put('c/r/a.txt', upload('hello'))
  await createBackup(engine, 'one.zip')
  expect((await engine.backups.list()).map((each) => each.key)).toEqual(['one.zip'])
  const names = await archiveNames(join(engine.dir, 'backups/one.zip'))
  expect(names.sort()).toEqual(['auxiliary.db', 'data.db', 'storage/c/r/a.txt', 'storage/c/r/a.txt.attrs'])
  const target = join(root, 'imported')
  await unpackArchive(join(engine.dir, 'backups/one.zip'), target)
  await checkPbData(target)
  await using other = await open(target)
  expect(note(other.data)).toBe('one')
  expect(await readFile(join(target, 'storage/c/r/a.txt'), 'utf8')).toBe('hello')
  expect(await engine.backups.delete('one.zip')).toBe(true)
  expect(await engine.backups.delete('one.zip')).toBe(false)
  expect(await readdir(join(engine.dir, '.pb_temp_to_delete'))).toEqual([])
})

test('a restore puts everything back, and a broken archive changes nothing', async () => {
  const { dir } = engine
  await setNote('before')
  await engine.files.put('c/r/a.txt', upload('before'))
  await createBackup(engine, 'good.zip')
  await setNote('after')
  await engine.files.delete('c/r/a.txt')
  const restart = async (swap: () => Promise<void>) => {
    await engine.close()
    try {
      await swap()
    } finally {
      engine = await open(dir)
    }
  }
  allowRestore(engine, (unpacked, scratch) => restart(() => swapContents(dir, unpacked, scratch)))
  await writeFile(join(dir, 'backups/bad.zip'), 'no archive')
  await expect(restoreBackup(engine, 'bad.zip')).rejects.toBeInstanceOf(ArchiveError)
  expect(note(engine.data)).toBe('after')
  await restoreBackup(engine, 'good.zip')
  expect(note(engine.data)).toBe('before')
  expect(await readFile(join(dir, 'storage/c/r/a.txt'), 'utf8')).toBe('before')
  expect((await engine.backups.list()).map((each) => each.key)).toEqual(['bad.zip', 'good.zip'])
})

test('one at a time; automatic ones are kept by number', async () => {
  const first = createBackup(engine, 'a.zip')
  await expect(createBackup(engine, 'b.zip')).rejects.toBeInstanceOf(BackupBusyError)
  await first
  await writeFile(join(engine.dir, 'backups/@auto_pb_backup_x_20000101000000.zip'), '')
  await engine.settingsStore.save({
    ...engine.settings,
    backups: { ...engine.settings.backups, cron: '0 0 * * *', cronMaxKeep: 1 },
  })
  await runAutoBackup(engine)
  const keys = (await engine.backups.list()).map((each) => each.key)
  expect(keys).toHaveLength(2)
  expect(keys).not.toContain('@auto_pb_backup_x_20000101000000.zip')
  expect(keys).toContain('a.zip')
})

test('a scheduled backup that fails is told to every superuser, and old ones still go', async () => {
  for (const email of ['one@example.com', 'two@example.com'])
    await saveUser(engine, '_superusers', { email, password: 'a-long-password' })
  await writeFile(join(root, 'x.zip'), '')
  for (const n of [1, 2, 3]) await engine.backups.put(`@auto_pb_backup_x_2000010100000${n}.zip`, join(root, 'x.zip'))
  const server = await startMailServer()
  await engine.settingsStore.save({
    ...engine.settings,
    backups: { ...engine.settings.backups, cronMaxKeep: 2 },
    smtp: { ...engine.settings.smtp, enabled: true, host: '127.0.0.1', port: server.port },
  })
  await rm(join(engine.dir, '.pb_temp_to_delete'), { recursive: true, force: true })
  await writeFile(join(engine.dir, '.pb_temp_to_delete'), 'no folder can be made here')
  await runAutoBackup(engine).finally(() => server.stop())
  expect(server.mails.map(({ subject, to }) => [subject, ...to]).sort()).toEqual([
    ['[Acme system alert] Autobackup failure', 'one@example.com'],
    ['[Acme system alert] Autobackup failure', 'two@example.com'],
  ])
  expect(await engine.backups.list()).toHaveLength(2)
})

async function archive(name: string, fill: (zip: ZipFile) => void, patch?: (bytes: Buffer) => Buffer): Promise<string> {
  const path = join(root, name)
  const zip = new ZipFile()
  fill(zip)
  zip.end()
  await pipeline(zip.outputStream as unknown as NodeJS.ReadableStream, createWriteStream(path))
  if (patch !== undefined) await writeFile(path, patch(await readFile(path)))
  return path
}

const renamed = (from: string, to: string) => (bytes: Buffer) =>
  Buffer.from(bytes.toString('latin1').replaceAll(from, to), 'latin1')

test('no archive writes outside its folder', async () => {
  const body = Buffer.from('evil')
  const names = ['../../up.txt', '/root/x.txt', 'a/../..//.txt', 'a\\..\\..\\xx']
  for (const [i, name] of names.entries()) {
    const plain = 'a'.repeat(name.length)
    const path = await archive(`slip${i}.zip`, (zip) => zip.addBuffer(body, plain), renamed(plain, name))
    const target = join(root, 'deep/er', String(i))
    await expect(unpackArchive(path, target)).rejects.toBeInstanceOf(ArchiveError)
    await unpackArchive(path, target).catch(() => {})
    expect(existsSync(join(root, 'up.txt')) || existsSync(join(root, 'deep/up.txt'))).toBe(false)
  }
  const linked = await archive('link.zip', (zip) => zip.addBuffer(Buffer.from('/etc/passwd'), 'l', { mode: 0o120777 }))
  await expect(unpackArchive(linked, join(root, 'l'))).rejects.toBeInstanceOf(ArchiveError)
})

test('a bomb ends at its limit', async () => {
  const path = await archive('bomb.zip', (zip) => zip.addBuffer(Buffer.alloc(8 * 1024 * 1024), 'zeros'))
  await expect(unpackArchive(path, join(root, 'bomb'), { bytesMax: 1024 * 1024 })).rejects.toBeInstanceOf(ArchiveError)
})

test('what is no pb_data is refused', async () => {
  const noData = await archive('none.zip', (zip) => zip.addBuffer(Buffer.from('x'), 'readme.txt'))
  const badData = await archive('bad.zip', (zip) => zip.addBuffer(Buffer.alloc(4096, 1), 'data.db'))
  for (const [i, path] of [noData, badData].entries()) {
    await unpackArchive(path, join(root, `target${i}`))
    await expect(checkPbData(join(root, `target${i}`))).rejects.toBeInstanceOf(NotPbDataError)
  }
})

test('a backup holds what stands in the WAL, and no links', async () => {
  await setNote('in the WAL')
  await mkdir(join(engine.dir, 'storage'), { recursive: true })
  await symlink('/etc/passwd', join(engine.dir, 'storage/link'))
  await exportTo(engine, join(root, 'export.zip'))
  expect((await archiveNames(join(root, 'export.zip'))).sort()).toEqual(['auxiliary.db', 'data.db'])
  const target = join(root, 'copied')
  await unpackArchive(join(root, 'export.zip'), target)
  await using copy = await open(target)
  expect(note(copy.data)).toBe('in the WAL')
})

test('a file that cannot be packed ends the packing with its error', async () => {
  const stream = () => new ReadableStream<Uint8Array>({ pull: (control) => control.error(new Error('broken')) })
  async function* files() {
    yield { name: 'storage/a', sizeBytes: 3, open: async () => new Blob(['abc']).stream() }
    yield { name: 'storage/b', sizeBytes: 3, open: async () => stream() }
  }
  const dir = join(root, 'empty')
  await mkdir(dir)
  await expect(packArchive(join(root, 'broken.zip'), { dir, files: files() })).rejects.toThrow('broken')
})
