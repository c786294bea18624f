// ZIP archives of a data directory, both ways, as streams. An archive from elsewhere is an attack until it is checked:
// names that leave the folder, links, bombs.

import { createWriteStream } from 'node:fs'
import { mkdir, open, readdir } from 'node:fs/promises'
import { dirname, join, resolve, sep } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import type { ReadableStream as NodeStream } from 'node:stream/web'
import { type Entry, open as openZip, type ZipFile as ZipReader } from 'yauzl'
import { ZipFile } from 'yazl'
import { AppError } from '../../../lib/errors.ts'
import { freeBytes } from '../../../lib/free-bytes.ts'

/** Entries of one archive. */
const entriesMax = 1_000_000
/** Unpacked bytes of one archive, unless the caller says otherwise or the disk has no room: the largest plan's storage. */
const unpackedBytesDefault = 50 * 1024 * 1024 * 1024
/** Unpacked to packed bytes of one entry past the first MiB; SQLite files full of zeros come near 1000. */
const ratioMax = 1_100
const ratioFreeBytes = 1024 * 1024

/** The archive is damaged, or holds what must not be unpacked. */
export class ArchiveError extends AppError {
  readonly code = 'archive'
}

/** A file that is not on this disk. */
export interface PackedFile {
  /** Relative, with `/`. */
  readonly name: string
  readonly sizeBytes: number
  readonly open: () => Promise<ReadableStream<Uint8Array>>
}

export interface PackOptions {
  /** Every file below it is packed under its relative name. Links are left out. */
  readonly dir: string
  /** Asked for the relative name, with `/`, of each file and folder of `dir`. */
  readonly isExcluded?: (name: string) => boolean
  /** Packed after those, one at a time. */
  readonly files?: AsyncIterable<PackedFile> | null
}

/** Packs files into a new archive at `path`. What was written stays when it fails. */
export async function packArchive(path: string, options: PackOptions): Promise<void> {
  const zip = new ZipFile()
  const failure = new AbortController()
  // yazl tells of a file that cannot be read by an event of its own, and its output then never ends.
  zip.on('error', (error) => failure.abort(error))
  const written = pipeline(
    zip.outputStream as unknown as Readable,
    createWriteStream(path, { flags: 'wx', mode: 0o600 }),
    { signal: failure.signal },
  )
  // A failure to write must reach the caller through the await below, also when reading fails first.
  written.catch(() => {})
  let entries = 0
  const count = () => {
    if (++entries > entriesMax) throw new ArchiveError(`more than ${entriesMax} files`)
  }
  const addFolder = async (name: string): Promise<void> => {
    for (const entry of await readdir(join(options.dir, name), { withFileTypes: true })) {
      const child = name === '' ? entry.name : `${name}/${entry.name}`
      if (options.isExcluded?.(child)) continue
      if (entry.isDirectory()) await addFolder(child)
      else if (entry.isFile()) {
        count()
        zip.addFile(join(options.dir, child), child)
      }
    }
  }
  try {
    await addFolder('')
    for await (const file of options.files ?? []) {
      await Promise.race([addStream(zip, file), written])
      failure.signal.throwIfAborted()
      count()
    }
    zip.end()
    await written
  } catch (error) {
    failure.abort(error)
    await written.catch(() => {})
    throw failure.signal.reason
  }
}

/** Resolves when the whole file has gone into the archive, so that one is open at a time. */
async function addStream(zip: ZipFile, file: PackedFile): Promise<void> {
  const stream = Readable.fromWeb((await file.open()) as unknown as NodeStream<Uint8Array>)
  const ended = finished(stream, { writable: false })
  zip.addReadStream(stream, file.name, { size: file.sizeBytes })
  await ended
}

/**
 * Unpacks an archive into `dir`, which must be empty or missing. Throws ArchiveError before anything outside `dir` is
 * touched; the caller removes what was unpacked until then.
 */
export async function unpackArchive(
  path: string,
  dir: string,
  options: { readonly bytesMax?: number } = {},
): Promise<void> {
  const root = resolve(dir)
  await mkdir(root, { recursive: true })
  const zip = await openArchive(path)
  const bytesMax = Math.min(options.bytesMax ?? unpackedBytesDefault, await roomIn(root))
  let entries = 0
  let bytes = 0
  try {
    if (zip.entryCount > entriesMax) throw new ArchiveError(`more than ${entriesMax} entries`)
    for await (const entry of entriesOf(zip)) {
      if (++entries > entriesMax) throw new ArchiveError(`more than ${entriesMax} entries`)
      const name = entry.fileName
      if (name.endsWith('/')) continue // folders are made for their files
      const target = targetOf(root, name)
      checkPlainFile(entry)
      await mkdir(dirname(target), { recursive: true })
      const allowed = Math.min(bytesMax - bytes, bytesAllowed(entry))
      bytes += await unpackEntry(zip, entry, target, allowed)
    }
  } catch (error) {
    if (error instanceof AppError) throw error
    throw new ArchiveError('the archive is damaged', { cause: error })
  } finally {
    zip.close()
  }
}

/** Bytes that one archive may take of a disk: half of what is left, for others live on it too. */
async function roomIn(dir: string): Promise<number> {
  return Math.floor((await freeBytes(dir)) / 2)
}

/** An entry of an archive that is read where it lies. */
export interface ArchiveEntry {
  /** As it stands there: checked by nobody. */
  readonly name: string
  /** What the archive says; {@link open} fails as soon as there is more. */
  readonly sizeBytes: number
  /** The unpacked content; fails with ArchiveError for a bomb or damage. */
  readonly open: () => Promise<Readable>
}

export interface Archive extends AsyncDisposable {
  /** All plain files, in the order of the archive. */
  entries(): AsyncGenerator<ArchiveEntry>
}

/** Opens an archive without unpacking it; several entries may be read at once. */
export async function openForReading(path: string): Promise<Archive> {
  const reader = await openArchive(path) // contents are read from here, however often the entries are listed
  return {
    async *entries() {
      const listing = await openArchive(path)
      try {
        let count = 0
        for await (const entry of entriesOf(listing)) {
          if (++count > entriesMax) throw new ArchiveError(`more than ${entriesMax} entries`)
          if (entry.fileName.endsWith('/')) continue
          checkPlainFile(entry)
          yield {
            name: entry.fileName,
            sizeBytes: entry.uncompressedSize,
            open: async () => bounded(await streamOf(reader, entry), entry),
          }
        }
      } finally {
        listing.close()
      }
    },
    async [Symbol.asyncDispose]() {
      reader.close()
    },
  }
}

/** The names in an archive, without unpacking it. */
export async function archiveNames(path: string): Promise<string[]> {
  await using archive = await openForReading(path)
  const names: string[] = []
  for await (const { name } of archive.entries()) names.push(name)
  return names
}

/** Links and devices have no place in a backup. */
function checkPlainFile(entry: Entry): void {
  const type = (entry.externalFileAttributes >>> 16) & 0o170000
  if (type !== 0 && type !== 0o100000) throw new ArchiveError(`${JSON.stringify(entry.fileName)} is no plain file`)
}

/** The size in the header is only what somebody wrote there. */
function bytesAllowed(entry: Entry): number {
  return Math.min(unpackedBytesDefault, ratioFreeBytes + entry.compressedSize * ratioMax)
}

function streamOf(zip: ZipReader, entry: Entry): Promise<Readable> {
  return new Promise((done, fail) =>
    zip.openReadStream(entry, (error, stream) =>
      error ? fail(new ArchiveError('the archive is damaged', { cause: error })) : done(stream),
    ),
  )
}

function bounded(source: Readable, entry: Entry): Readable {
  const bytesMax = bytesAllowed(entry)
  let bytes = 0
  const counter = new Transform({
    transform(chunk: Uint8Array, _, done) {
      bytes += chunk.length
      if (bytes > bytesMax) done(new ArchiveError(`${JSON.stringify(entry.fileName)} unpacks to too much`))
      else done(null, chunk)
    },
  })
  pipeline(source, counter).catch((error: unknown) => {
    const damaged = new ArchiveError('the archive is damaged', { cause: error })
    counter.destroy(error instanceof AppError ? error : damaged)
  })
  return counter
}

function targetOf(root: string, name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not reach a file system
  const isPlain = !/[\\\u0000-\u001f]/.test(name) && !name.split('/').some((part) => ['', '.', '..'].includes(part))
  const target = resolve(root, name)
  if (!isPlain || !target.startsWith(root + sep)) throw new ArchiveError(`${JSON.stringify(name)} leaves the folder`)
  return target
}

async function unpackEntry(zip: ZipReader, entry: Entry, target: string, bytesMax: number): Promise<number> {
  const source = await streamOf(zip, entry)
  const file = await open(target, 'wx', 0o600)
  let bytes = 0
  try {
    for await (const chunk of source as AsyncIterable<Uint8Array>) {
      bytes += chunk.length
      if (bytes > bytesMax) throw new ArchiveError(`${JSON.stringify(entry.fileName)} unpacks to too much`)
      await file.write(chunk)
    }
  } finally {
    source.destroy()
    await file.close()
  }
  return bytes
}

function openArchive(path: string): Promise<ZipReader> {
  return new Promise((done, fail) =>
    openZip(
      path,
      { lazyEntries: true, autoClose: false, strictFileNames: true, validateEntrySizes: true },
      (error, zip) => (error ? fail(new ArchiveError('this is no ZIP archive', { cause: error })) : done(zip)),
    ),
  )
}

async function* entriesOf(zip: ZipReader): AsyncGenerator<Entry> {
  for (let i = 0; i < zip.entryCount; i++) {
    yield await new Promise<Entry>((done, fail) => {
      const onEntry = (entry: Entry) => {
        off()
        done(entry)
      }
      const onError = (error: Error) => {
        off()
        fail(new ArchiveError('the archive is damaged', { cause: error }))
      }
      const onEnd = () => onError(new Error('fewer entries than it says'))
      const off = () => zip.off('entry', onEntry).off('error', onError).off('end', onEnd)
      zip.on('entry', onEntry).on('error', onError).on('end', onEnd)
      zip.readEntry()
    })
  }
}
