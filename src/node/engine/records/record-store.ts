// Saving and deleting records: validation, hooks, files, unique indexes, cascades. PocketBase: core/db.go,
// core/record_model.go.

import { Breath } from '../../../lib/breath.ts'
import type { Clock } from '../../../lib/clock.ts'
import type { Logger } from '../../../lib/obs/log.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import type { Rng } from '../../../lib/rng.ts'
import type { PasswordHasher } from '../auth/password.ts'
import type { Collection } from '../collections/collection.ts'
import type { CollectionStore } from '../collections/collection-store.ts'
import type { Database } from '../db/database.ts'
import { quoteName, type Row, type SqlValue } from '../db/sql.ts'
import { LastSuperuserError, RefusedError, ValidationFailed } from '../errors.ts'
import { toTexts } from '../fields/cast.ts'
import { formatDateTime } from '../fields/datetime.ts'
import { isMultiple, type RelationField } from '../fields/field.ts'
import { fileItems, itemName } from '../fields/file.ts'
import type { ValueContext } from '../fields/kind.ts'
import { kindOf } from '../fields/kinds.ts'
import { randomByPattern } from '../fields/random-pattern.ts'
import { PasswordValue } from '../fields/value.ts'
import { createDeletedFilesTable } from '../files/deleted-files.ts'
import { takeEarlyUpload } from '../files/early-uploads.ts'
import type { FileStorage } from '../files/storage.ts'
import type { UploadedFile } from '../files/uploaded-file.ts'
import type { HookChain } from '../hook-chain.ts'
import type { ValidationError, ValidationErrors } from '../settings/checks.ts'
import { type RecordChains, type RecordErrorEvent, triggerRecord } from './events.ts'
import { EngineRecord } from './record.ts'

/** Records that one delete may take along; beyond it the delete is refused as a whole. */
const cascadeMax = 100_000
/** Deeper chains of cascades are a loop of data. */
const cascadeDepthMax = 100

export interface SaveOptions {
  /** Skips field validation; for changes that the engine itself makes. */
  readonly skipValidation?: boolean
}

export interface RecordStoreDeps {
  readonly data: Database
  readonly collections: CollectionStore
  readonly chains: RecordChains
  readonly passwords: PasswordHasher
  readonly files: FileStorage
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
}

const byIdSql = (collection: Collection) => `SELECT * FROM ${quoteName(collection.name)} WHERE id = ? LIMIT 1`

export class RecordStore {
  readonly #deps: RecordStoreDeps
  /** Statements by collection, made once per version of the collections. */
  #statements = new Map<string, { insert: string; update: string; columns: readonly string[] }>()
  #version = -1
  /**
   * Between the changes of one transaction: a cascade may take a hundred thousand records along. The transaction keeps
   * its tenant's writers out meanwhile; neighbours and readers go on.
   */
  readonly #breath: Breath

  constructor(deps: RecordStoreDeps) {
    this.#deps = deps
    this.#breath = new Breath(deps.clock)
  }

  /** By key, at once. The rows of a view may be computed: {@link find} is for what may be one. */
  findById(collection: Collection, id: string): EngineRecord | null {
    const row = this.#deps.data.get<Row>(byIdSql(collection), [id])
    return row === null ? null : EngineRecord.fromRow(collection, row)
  }

  find(collection: Collection, id: string): MaybePromise<EngineRecord | null> {
    return collection.isView ? this.#findInView(collection, id) : this.findById(collection, id)
  }

  async #findInView(collection: Collection, id: string): Promise<EngineRecord | null> {
    const [row] = await this.#deps.data.read<Row>(byIdSql(collection), [id])
    return row === undefined ? null : EngineRecord.fromRow(collection, row)
  }

  /** The first record whose field has exactly this value. */
  findFirst(collection: Collection, field: string, value: SqlValue): EngineRecord | null {
    if (collection.field(field) === undefined) return null
    const sql = `SELECT * FROM ${quoteName(collection.name)} WHERE ${quoteName(field)} = ? LIMIT 1`
    const row = this.#deps.data.get<Row>(sql, [value])
    return row === null ? null : EngineRecord.fromRow(collection, row)
  }

  /**
   * Creates or updates. Throws ValidationFailed, and whatever a hook throws; then nothing is stored, and neither when a
   * hook stops it without a word.
   */
  async save(record: EngineRecord, options: SaveOptions = {}): Promise<void> {
    if (record.collection.isView) throw new RefusedError('records of a view cannot be changed')
    const { chains, data } = this.#deps
    if (data.inTransaction) await this.#breath.take()
    const { isNew } = record
    const event = { record }
    const uploaded: UploadedFile[] = []
    let isStored = false
    try {
      await triggerRecord(isNew ? chains.onRecordCreate : chains.onRecordUpdate, event, async () => {
        this.#fill(record)
        if (options.skipValidation !== true) await this.validate(record)
        await this.#hashPasswords(record)
        // Before the transaction: other writers must not wait for an object store.
        await this.#upload(record, uploaded)
        await data.transaction(async () => {
          await triggerRecord(isNew ? chains.onRecordCreateExecute : chains.onRecordUpdateExecute, event, async () => {
            await this.#execute(record, uploaded)
            isStored = true
          })
        })
      })
    } catch (error) {
      await this.#removeFiles(
        record,
        uploaded.map((file) => file.name),
        'now',
      )
      if (isNew) record.isNew = true
      await this.#failed(isNew ? chains.onRecordAfterCreateError : chains.onRecordAfterUpdateError, record, error)
      throw error
    }
    if (isStored) return this.#completed(record, isNew, uploaded)
    const names = uploaded.map((file) => file.name)
    await this.#removeFiles(record, names, 'now')
  }

  /** Runs value checks of all fields; throws ValidationFailed that names each bad one. */
  async validate(record: EngineRecord): Promise<void> {
    await triggerRecord(this.#deps.chains.onRecordValidate, { record }, async () => {
      const errors: Record<string, ValidationError | ValidationErrors> = {}
      const context = this.#context()
      for (const field of record.collection.fields) {
        const error = await kindOf(field).validate(field, record, context)
        if (error !== null) errors[field.name] = error
      }
      if (Object.keys(errors).length > 0) throw new ValidationFailed(errors)
    })
  }

  /** Deletes a record with what cascades from it, in one transaction. Throws RefusedError when a required relation is in the way. */
  async delete(record: EngineRecord): Promise<void> {
    if (record.collection.isView) throw new RefusedError('records of a view cannot be deleted')
    const { data } = this.#deps
    if (data.inTransaction) await this.#breath.take()
    await data.transaction(() => this.#delete(record, { left: cascadeMax }, 0))
  }

  async #delete(record: EngineRecord, budget: { left: number }, depth: number): Promise<void> {
    if (depth > cascadeDepthMax || --budget.left < 0)
      throw new RefusedError('the delete would take too many records along')
    const { chains, data } = this.#deps
    const { collection } = record
    if (depth > 0) await this.#breath.take()
    if (collection.isSuperusers) this.#keepOneSuperuser()
    const event = { record }
    let isDeleted = false
    await triggerRecord(chains.onRecordDelete, event, () =>
      triggerRecord(chains.onRecordDeleteExecute, event, async () => {
        data.run(`DELETE FROM ${quoteName(collection.name)} WHERE id = ?`, [record.id])
        await this.#cascade(record, budget, depth)
        const names = collection.fields.flatMap((field) =>
          field.type === 'file' ? fileItems(record.original[field.name] ?? '').map(itemName) : [],
        )
        this.#noteDeletedFiles(record, names)
        isDeleted = true
      }),
    )
    if (!isDeleted) return this.#failed(chains.onRecordAfterDeleteError, record, null) // stopped: it and its files stay
    data.afterRollback(() => this.#failed(chains.onRecordAfterDeleteError, record, null))
    await data.afterCommit(async () => {
      await this.#removeRecordFiles(record)
      await triggerRecord(chains.onRecordAfterDeleteSuccess, event, () => {})
    })
  }

  #keepOneSuperuser(): void {
    const { n } = this.#deps.data.get<{ n: number }>('SELECT count(*) AS n FROM `_superusers`') ?? { n: 0 }
    if (n <= 1) throw new LastSuperuserError()
  }

  async #cascade(record: EngineRecord, budget: { left: number }, depth: number): Promise<void> {
    for (const { collection, field } of this.#deps.collections.references(record.collection)) {
      if (collection.isView) continue
      const column = `${quoteName(collection.name)}.${quoteName(field.name)}`
      const match = isMultiple(field)
        ? `EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(${column}) THEN ${column} ELSE '[]' END) AS each WHERE each.value = ?)`
        : `${column} = ?`
      const sql = `SELECT * FROM ${quoteName(collection.name)} WHERE ${match} LIMIT ${budget.left + 1}`
      for (const row of this.#deps.data.all<Row>(sql, [record.id])) {
        if (collection.id === record.collection.id && row['id'] === record.id) continue
        await this.#dropReference(EngineRecord.fromRow(collection, row), field, record, budget, depth)
      }
    }
  }

  async #dropReference(
    reference: EngineRecord,
    field: RelationField,
    deleted: EngineRecord,
    budget: { left: number },
    depth: number,
  ): Promise<void> {
    const left = toTexts(reference.get(field.name)).filter((id) => id !== deleted.id)
    if (field.cascadeDelete && left.length === 0) return this.#delete(reference, budget, depth + 1)
    if (field.required && left.length === 0)
      throw new RefusedError(
        `the record is part of a required reference in record ${reference.id} (${reference.collection.name} collection)`,
      )
    budget.left--
    reference.set(field.name, left)
    await this.save(reference, { skipValidation: true })
  }

  #fill(record: EngineRecord): void {
    const context = this.#context()
    for (const field of record.collection.fields) kindOf(field).autogenerate?.(field, record, context)
  }

  async #hashPasswords(record: EngineRecord): Promise<void> {
    for (const field of record.collection.fields) {
      const value = record.get(field.name)
      if (field.type !== 'password' || !(value instanceof PasswordValue) || value.plain === '') continue
      const hash = await this.#deps.passwords.hash(value.plain, field.cost)
      record.setRaw(field.name, new PasswordValue(hash, value.plain))
    }
  }

  /** Inside the transaction: dates, token key, files, the row itself. */
  async #execute(record: EngineRecord, uploaded: UploadedFile[]): Promise<void> {
    const { collection } = record
    const now = formatDateTime(this.#deps.clock.now())
    for (const field of collection.fields) {
      if (field.type !== 'autodate') continue
      const isDue = record.isNew ? field.onCreate : field.onUpdate
      // A date that was set on purpose, by an import or a hook, stays.
      if (isDue && (record.get(field.name) ?? '') === (record.original[field.name] ?? ''))
        record.setRaw(field.name, now)
    }
    if (collection.isAuth) this.#executeAuth(record)
    await this.#upload(record, uploaded) // what a hook added since
    const row = record.toRow()
    const { insert, update, columns } = this.#statementsOf(collection)
    const values = columns.map((column) => row[column]!)
    try {
      if (record.isNew) this.#deps.data.run(insert, values)
      else if (this.#deps.data.run(update, [...values, record.id]).changes === 0)
        throw new RefusedError('the record does not exist any more')
    } catch (error) {
      throw this.#uniqueError(error, collection) ?? error
    }
    const removed = this.#removedFiles(record)
    this.#noteDeletedFiles(record, removed)
    record.isNew = false
  }

  #executeAuth(record: EngineRecord): void {
    const { collection } = record
    if (!record.isNew) {
      const before = record.original['password'] as PasswordValue | undefined
      const after = record.get('password') as PasswordValue
      const isChanged = before?.hash !== after.hash || record.original['email'] !== record.get('email')
      if (isChanged && record.original['tokenKey'] === record.get('tokenKey')) this.refreshTokenKey(record)
    }
    for (const other of this.#deps.collections.all()) {
      if (!other.isAuth || other.id === collection.id) continue
      if (this.#deps.data.get(`SELECT 1 FROM ${quoteName(other.name)} WHERE id = ?`, [record.id]) === null) continue
      throw ValidationFailed.of('id', {
        code: 'validation_invalid_auth_id',
        message: 'Invalid or duplicated auth record id.',
      })
    }
  }

  /** Makes every token of an auth record worthless once it is saved. */
  refreshTokenKey(record: EngineRecord): void {
    const field = record.collection.field('tokenKey')
    const pattern =
      field?.type === 'text' && field.autogeneratePattern !== '' ? field.autogeneratePattern : '[a-zA-Z0-9]{50}'
    record.setRaw('tokenKey', randomByPattern(pattern, this.#deps.rng))
  }

  async #upload(record: EngineRecord, uploaded: UploadedFile[]): Promise<void> {
    for (const field of record.collection.fields) {
      if (field.type !== 'file') continue
      for (const file of kindOf(field).uploads?.(record.get(field.name)!) ?? []) {
        if (uploaded.includes(file)) continue
        const key = this.#fileKey(record, file.name)
        if (!takeEarlyUpload(file, key)) await this.#deps.files.put(key, file)
        uploaded.push(file)
      }
    }
  }

  /** After a success: values hold names only, old files go, hooks and realtime hear of it. */
  async #completed(record: EngineRecord, isNew: boolean, uploaded: readonly UploadedFile[]): Promise<void> {
    const { chains, data } = this.#deps
    const removed = this.#removedFiles(record)
    const before = { ...record.original }
    for (const field of record.collection.fields) {
      const value = record.get(field.name)
      if (field.type === 'file' && value !== undefined)
        record.setRaw(field.name, kindOf(field).show(field, value) as string)
      if (value instanceof PasswordValue) record.setRaw(field.name, new PasswordValue(value.hash))
    }
    record.markSaved()
    data.afterRollback(async () => {
      await this.#removeFiles(
        record,
        uploaded.map((file) => file.name),
        'now',
      )
      record.original = before
      record.isNew = isNew
      await this.#failed(isNew ? chains.onRecordAfterCreateError : chains.onRecordAfterUpdateError, record, null)
    })
    await data.afterCommit(async () => {
      await this.#removeFiles(record, removed, 'kept')
      await triggerRecord(
        isNew ? chains.onRecordAfterCreateSuccess : chains.onRecordAfterUpdateSuccess,
        { record },
        () => {},
      )
    })
  }

  #removedFiles(record: EngineRecord): string[] {
    const removed: string[] = []
    for (const field of record.collection.fields) {
      if (field.type !== 'file') continue
      const now = new Set(fileItems(record.get(field.name)).map(itemName))
      for (const item of fileItems(record.original[field.name] ?? ''))
        if (!now.has(itemName(item))) removed.push(itemName(item))
    }
    return removed
  }

  /** In a fleet deleted files stay until retention has passed: their keys are noted with the change itself. */
  #noteDeletedFiles(record: EngineRecord, names: readonly string[]): void {
    const { files, data, clock } = this.#deps
    if (!files.keepsDeleted || names.length === 0) return
    createDeletedFilesTable(data)
    for (const name of names)
      data.run('INSERT OR REPLACE INTO `_pfDeletedFiles` (key, deletedAtMs) VALUES (?, ?)', [
        this.#fileKey(record, name),
        clock.now(),
      ])
  }

  /** `now`: uploads of a save that failed, which nothing refers to. `kept`: files that a point in time may want back. */
  async #removeFiles(record: EngineRecord, names: readonly string[], which: 'now' | 'kept'): Promise<void> {
    const { files, log } = this.#deps
    if (which === 'kept' && files.keepsDeleted) return
    for (const name of names) {
      try {
        await files.delete(this.#fileKey(record, name))
      } catch (error) {
        log.warn('file not deleted', { collection: record.collection.name, record: record.id, error })
      }
    }
  }

  async #removeRecordFiles(record: EngineRecord): Promise<void> {
    const { files, log } = this.#deps
    if (files.keepsDeleted || !record.collection.fields.some((field) => field.type === 'file')) return
    try {
      await files.deletePrefix(`${record.collection.id}/${record.id}/`)
    } catch (error) {
      log.warn('files not deleted', { collection: record.collection.name, record: record.id, error })
    }
  }

  async #failed(chain: HookChain<RecordErrorEvent>, record: EngineRecord, error: unknown): Promise<void> {
    if (chain.isEmpty) return
    await triggerRecord<RecordErrorEvent>(chain, { record, error }, () => {})
  }

  #fileKey(record: EngineRecord, name: string): string {
    return `${record.collection.id}/${record.id}/${name}`
  }

  #statementsOf(collection: Collection) {
    if (this.#version !== this.#deps.collections.version) {
      this.#statements = new Map()
      this.#version = this.#deps.collections.version
    }
    let statements = this.#statements.get(collection.id)
    if (statements === undefined) {
      const columns = collection.fields.map((field) => field.name)
      const table = quoteName(collection.name)
      const names = columns.map(quoteName)
      statements = {
        columns,
        insert: `INSERT INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
        update: `UPDATE ${table} SET ${names.map((name) => `${name} = ?`).join(', ')} WHERE id = ?`,
      }
      this.#statements.set(collection.id, statements)
    }
    return statements
  }

  /** SQLite's refusal of a unique index, by field; null for every other error. */
  #uniqueError(error: unknown, collection: Collection): ValidationFailed | null {
    const message = error instanceof Error ? error.message : ''
    const match = /UNIQUE constraint failed: (.+)$/.exec(message)
    if (match === null) return null
    const errors: Record<string, ValidationError> = {}
    for (const part of match[1]!.split(',')) {
      const column = part.trim().slice(part.trim().indexOf('.') + 1)
      const field = collection.fields.find((each) => each.name.toLowerCase() === column.toLowerCase())
      if (field !== undefined) errors[field.name] = { code: 'validation_not_unique', message: 'Value must be unique' }
    }
    return Object.keys(errors).length > 0 ? new ValidationFailed(errors) : null
  }

  #context(): ValueContext {
    const { data, collections, rng } = this.#deps
    return {
      all: (sql, params) => data.all<Row>(sql, params),
      collection: (nameOrId) => collections.find(nameOrId),
      randomByPattern: (pattern) => randomByPattern(pattern, rng),
    }
  }
}
