// The local files of a node's tenants. All but the WAL's last moments is in the object store too, so a folder may be
// deleted once it is marked clean: its tail was shipped and nothing was written since.
//
//   tenants/{id}/data.db auxiliary.db hooks.db, each with -wal, -shm and -replica
//   tenants/{id}/clean        closed with everything shipped
//   tenants/{id}/warm         a copy for another node's tenant; in it, which worker keeps it
//   locks/{id}                while a process of the node opens, copies or removes the folder
//   orphans/{id}-{time}/…     commits that were never acknowledged as durable and that another owner overtook

import { existsSync, statSync } from 'node:fs'
import { link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isTenantId, type TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { type DirectoryLock, DirectoryLockedError, lockFile, lockWhenFree } from '../../lib/dir-lock.ts'
import { errorCode, OverloadedError } from '../../lib/errors.ts'

/** In the order in which they are shipped at creation: `data.db` last, so that its slot 1 proves the others. */
export const databaseNames = ['auxiliary.db', 'hooks.db', 'data.db'] as const
export type DatabaseName = (typeof databaseNames)[number]

/** How long whoever opens a tenant waits for another worker to be done with its folder, ms: a copy may be large. */
const lockMsMax = 30_000
/** Orphaned tails kept on a node; the oldest goes when there are more. */
const orphansMax = 100

export class TenantFiles {
  readonly #root: string
  readonly #clock: Clock

  constructor(root: string, clock: Clock) {
    this.#root = root
    this.#clock = clock
  }

  /** The node's directory. */
  get root(): string {
    return this.#root
  }

  /**
   * Keeps the node's other processes from a tenant's folder: a pool knows what its own process does, while another worker may
   * keep a copy there, or remove what rests. For whoever opens the tenant, until the folder is marked dirty.
   *
   * @throws OverloadedError when another process is not done in time.
   */
  async lock(id: TenantId): Promise<Disposable> {
    try {
      return untilDisposed(await lockWhenFree(this.#lockPath(id), lockMsMax, this.#clock))
    } catch (error) {
      if (!(error instanceof DirectoryLockedError)) throw error
      throw new OverloadedError(`another worker is busy with the files of tenant ${id}`, { cause: error })
    }
  }

  /** The same, or null when another process has it: for work that can wait until somebody asks again. */
  tryLock(id: TenantId): Disposable | null {
    try {
      return untilDisposed(lockFile(this.#lockPath(id)))
    } catch (error) {
      if (!(error instanceof DirectoryLockedError)) throw error
      return null
    }
  }

  #lockPath(id: TenantId): string {
    return join(this.#root, 'locks', id)
  }

  dir(id: TenantId): string {
    return join(this.#root, 'tenants', id)
  }

  path(id: TenantId, name: DatabaseName): string {
    return join(this.dir(id), name)
  }

  isClean(id: TenantId): boolean {
    return existsSync(join(this.dir(id), 'clean'))
  }

  /** There are files, and not all of them are known to be in the store: not closed with everything shipped, and no copy. */
  mayHoldMore(id: TenantId): boolean {
    return existsSync(this.path(id, 'data.db')) && !this.isClean(id) && !existsSync(this.#warmPath(id))
  }

  /** From here on the folder holds a copy that somebody keeps up to date; see {@link mayHoldMore} before. */
  async markWarm(id: TenantId, worker: number): Promise<void> {
    await mkdir(this.dir(id), { recursive: true, mode: 0o700 })
    await writeFile(this.#warmPath(id), String(worker))
  }

  /** From here on the folder is like that of any tenant at rest: all of a copy is in the store. Only under {@link lock}. */
  async unmarkWarm(id: TenantId): Promise<void> {
    if (!existsSync(this.#warmPath(id))) return
    await this.markClean(id)
    await rm(this.#warmPath(id), { force: true })
  }

  /** The worker that keeps the copy; null: it is none. */
  async warmWorker(id: TenantId): Promise<number | null> {
    try {
      return Number(await readFile(this.#warmPath(id), 'utf8'))
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error
      return null
    }
  }

  #warmPath(id: TenantId): string {
    return join(this.dir(id), 'warm')
  }

  async markClean(id: TenantId): Promise<void> {
    await writeFile(join(this.dir(id), 'clean'), '')
  }

  /** From here on the folder may hold what the object store does not. */
  async markDirty(id: TenantId): Promise<void> {
    await mkdir(this.dir(id), { recursive: true, mode: 0o700 })
    await rm(join(this.dir(id), 'clean'), { force: true })
  }

  async remove(id: TenantId): Promise<void> {
    await rm(this.dir(id), { recursive: true, force: true })
  }

  /** Every tenant with a folder here, when it was last closed or opened, and when a copy last heard of its owner. */
  async list(): Promise<
    readonly {
      readonly id: TenantId
      readonly isClean: boolean
      readonly touchedAtMs: number
      readonly warmAtMs: number | null
    }[]
  > {
    let names: string[]
    try {
      names = await readdir(join(this.#root, 'tenants'))
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return []
      throw error
    }
    const found = []
    for (const id of names.filter(isTenantId)) {
      const { mtimeMs } = await stat(this.dir(id))
      const warmAtMs = statSync(this.#warmPath(id), { throwIfNoEntry: false })?.mtimeMs ?? null
      found.push({ id, isClean: this.isClean(id), touchedAtMs: mtimeMs, warmAtMs })
    }
    return found
  }

  /**
   * Gives `data.db` and its WAL second names, so that they outlive a restore that replaces them.
   *
   * @returns null when there is no database that could hold what the store does not.
   */
  async setAside(id: TenantId): Promise<{ keep(): Promise<string>; drop(): Promise<void> } | null> {
    const path = this.path(id, 'data.db')
    if (!existsSync(path)) return null
    const aside = join(this.dir(id), 'aside')
    await rm(aside, { recursive: true, force: true })
    await mkdir(aside, { mode: 0o700 })
    // Links, not copies: opening the file by path would drop SQLite's locks on it.
    for (const suffix of ['', '-wal'])
      if (existsSync(path + suffix)) await link(path + suffix, join(aside, `data.db${suffix}`))
    const drop = () => rm(aside, { recursive: true, force: true })
    const keep = async () => {
      const orphan = join(this.#root, 'orphans', `${id}-${this.#clock.now()}`)
      await mkdir(join(this.#root, 'orphans'), { recursive: true, mode: 0o700 })
      await rename(aside, orphan)
      await this.#dropOldOrphans()
      return orphan
    }
    return { keep, drop }
  }

  /** Names of the folders that hold overtaken commits. */
  async orphans(): Promise<readonly string[]> {
    try {
      return (await readdir(join(this.#root, 'orphans'))).sort()
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return []
      throw error
    }
  }

  async #dropOldOrphans(): Promise<void> {
    const timeOf = (name: string) => Number(name.slice(name.indexOf('-') + 1))
    const names = [...(await this.orphans())].sort((a, b) => timeOf(b) - timeOf(a))
    for (const name of names.slice(orphansMax))
      await rm(join(this.#root, 'orphans', name), { recursive: true, force: true })
  }
}

/** The lock's file goes with it: there is none of a tenant that nobody works on. */
function untilDisposed(lock: DirectoryLock): Disposable {
  return { [Symbol.dispose]: () => lock.remove() }
}
