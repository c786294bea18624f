// Makes thumbs on demand: one at a time per thumb, few at a time per process, kept beside the original.

import { errorCode, OverloadedError } from '../../../lib/errors.ts'
import { ObjectExistsError } from '../../../lib/object-store/object-store.ts'
import { type FileStorage, type StoredFile, thumbsPrefix } from './storage.ts'
import { makeThumb, parseThumbSize, ThumbError } from './thumbs.ts'
import { UploadedFile } from './uploaded-file.ts'

/** Pictures decoded at a time, in the whole process: each may take 200 MB while it lasts. */
const makingMax = 3
/** Callers that may wait for their turn. */
const waitingMax = 200
/** Larger originals are served as they are, bytes. */
const originalBytesMax = 64 * 1024 * 1024

const running = new Map<string, Promise<StoredFile>>()
const waiting: (() => void)[] = []
let making = 0

/**
 * The thumb of a stored picture, made now when there is none yet.
 *
 * @param scope what tells this tenant's keys from others': its directory.
 * Throws ThumbError when the picture cannot be read, OverloadedError when too many wait.
 */
export async function thumbOf(
  files: FileStorage,
  scope: string,
  facts: { readonly key: string; readonly original: StoredFile; readonly size: string },
): Promise<{ readonly name: string; readonly key: string; readonly file: StoredFile }> {
  const name = `${facts.size}_${facts.key.slice(facts.key.lastIndexOf('/') + 1)}`
  const key = thumbsPrefix(facts.key) + name
  const stored = await files.open(key)
  if (stored !== null) return { name, key, file: stored }
  const id = `${scope}\n${key}`
  let job = running.get(id)
  if (job === undefined) {
    job = inTurn(() => make(files, { ...facts, thumbKey: key, name })).finally(() => running.delete(id))
    running.set(id, job)
  }
  return { name, key, file: await job }
}

async function make(
  files: FileStorage,
  facts: {
    readonly original: StoredFile
    readonly size: string
    readonly thumbKey: string
    readonly name: string
  },
): Promise<StoredFile> {
  const size = parseThumbSize(facts.size)
  if (size === null) throw new ThumbError(`${facts.size} is no size of a thumb`)
  if (facts.original.sizeBytes > originalBytesMax) throw new ThumbError('the file is too large for a thumb')
  const bytes = new Uint8Array(await new Response(await facts.original.body()).arrayBuffer())
  const thumb = await makeThumb(bytes, facts.original.contentType, size)
  const upload = new UploadedFile({
    originalName: facts.name,
    name: facts.name,
    sizeBytes: thumb.bytes.length,
    contentType: thumb.contentType,
    content: { bytes: thumb.bytes },
  })
  try {
    await files.put(facts.thumbKey, upload)
  } catch (error) {
    // Another process was first; its thumb is as good.
    if (!(error instanceof ObjectExistsError) && errorCode(error) !== 'EEXIST') throw error
  }
  const stored = await files.open(facts.thumbKey)
  if (stored === null) throw new ThumbError('the thumb was deleted while it was made')
  return stored
}

async function inTurn<T>(body: () => Promise<T>): Promise<T> {
  if (making >= makingMax) {
    if (waiting.length >= waitingMax) throw new OverloadedError(`${waitingMax} thumbs wait already`)
    await new Promise<void>((resolve) => waiting.push(resolve)) // the one that ends hands its place on
  } else making++
  try {
    return await body()
  } finally {
    const next = waiting.shift()
    if (next === undefined) making--
    else next()
  }
}
