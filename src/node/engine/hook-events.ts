// What handlers of the chains get to see, with the names that PocketBase's JavaScript hooks document (`e.record`,
// `e.newEmail`, …), so that a sandbox can hand them on one to one. PocketBase: core/events.go. Members that a handler may
// replace are not readonly: what it leaves there is what counts.

import type { MaybePromise } from '../../lib/result.ts'
import type { OAuth2User } from './auth/oauth2/exchange.ts'
import type { OAuth2Provider } from './auth/oauth2/provider.ts'
import type { BatchPart } from './batch/batch-request.ts'
import type { Collection } from './collections/collection.ts'
import type { FileField } from './fields/field.ts'
import type { RuleRequest } from './filter/resolver.ts'
import type { ChainEvent } from './hook-chain.ts'
import type { Mailer, MailMessage } from './mails/mailer.ts'
import type { RealtimeClient } from './realtime/client.ts'
import type { EngineRecord } from './records/record.ts'
import type { Settings } from './settings/settings.ts'

/** The request that an event belongs to: the API's RequestEvent, of which the engine knows only this. */
export interface HookRequest {
  readonly request: Request
  readonly method: string
  readonly path: string
  readonly realIp: string
  /** Who asks; null for guests. */
  auth: EngineRecord | null
  readonly isSuperuser: boolean
  param(name: string): string
  body(): Promise<Readonly<Record<string, unknown>>>
  info(body?: Readonly<Record<string, unknown>>): RuleRequest
  json(status: number, value: unknown): MaybePromise<Response>
  noContent(): MaybePromise<Response>
  redirect(status: number, location: string): MaybePromise<Response>
}

/** The engine, as far as its own events need it; a sandbox has the whole of it from elsewhere. */
export interface HookApp {
  readonly settings: Settings
}

export interface AppEvent extends ChainEvent {
  readonly app: HookApp
}

export interface TerminateEvent extends AppEvent {
  readonly isRestart: boolean
}

export interface BackupEvent extends AppEvent {
  /** Of the archive that is made or restored. */
  readonly name: string
  /** Names at the top of the data directory that are left alone. */
  exclude: string[]
}

export interface SettingsReloadEvent extends AppEvent {}

export interface MailerEvent extends AppEvent {
  mailer: Mailer
  message: MailMessage
}

export interface MailerRecordEvent extends MailerEvent {
  readonly record: EngineRecord
  /** What the template was filled with: `token`, `otpId`, `password`, `newEmail`, `info`. */
  readonly meta: Readonly<Record<string, unknown>>
}

export interface CollectionEvent extends ChainEvent {
  /** As it will be stored, or is. A handler changes what is stored by replacing it, before `next`. */
  collection: Collection
}

export interface CollectionErrorEvent extends CollectionEvent {
  readonly error: unknown
}

/** An event of a request. A handler that answers by itself sets `response` and does not call `next`. */
export interface RequestHookEvent extends ChainEvent {
  readonly requestEvent: HookRequest
  response: Response | null
}

interface OfCollection extends RequestHookEvent {
  readonly collection: Collection
}

interface OfRecord extends OfCollection {
  record: EngineRecord
}

export interface RecordsListRequestEvent extends OfCollection {
  readonly records: EngineRecord[]
  readonly result: {
    readonly items: EngineRecord[]
    readonly page: number
    readonly perPage: number
    readonly totalItems: number
    readonly totalPages: number
  }
}

export interface RecordRequestEvent extends OfRecord {}

export interface RecordAuthRequestEvent extends OfRecord {
  token: string
  meta: Readonly<Record<string, unknown>> | undefined
  /** Empty for refreshes and impersonation. */
  readonly authMethod: string
}

export interface RecordAuthWithPasswordRequestEvent extends OfCollection {
  /** null when nobody was found, or the password will tell. */
  record: EngineRecord | null
  readonly identity: string
  readonly identityField: string
  password: string
}

export interface RecordAuthWithOAuth2RequestEvent extends OfCollection {
  readonly providerName: string
  readonly providerClient: OAuth2Provider
  /** null: a new one will be made, unless a handler sets one. */
  record: EngineRecord | null
  oAuth2User: OAuth2User
  createData: Readonly<Record<string, unknown>>
  readonly isNewRecord: boolean
}

export interface RecordAuthRefreshRequestEvent extends OfRecord {}

export interface RecordCreateOTPRequestEvent extends OfCollection {
  /** null when the address is nobody's; the answer does not tell. */
  record: EngineRecord | null
  password: string
}

export interface RecordAuthWithOTPRequestEvent extends OfRecord {
  readonly otp: EngineRecord
}

/** Of the two steps of a password reset and of a verification. */
export interface RecordMailRequestEvent extends OfRecord {}

export interface RecordEmailChangeRequestEvent extends OfRecord {
  newEmail: string
}

export interface CollectionsListRequestEvent extends RequestHookEvent {
  readonly collections: Collection[]
  readonly result: {
    readonly items: Collection[]
    readonly page: number
    readonly perPage: number
    readonly totalItems: number
    readonly totalPages: number
  }
}

export interface CollectionRequestEvent extends RequestHookEvent {
  collection: Collection
}

export interface CollectionsImportRequestEvent extends RequestHookEvent {
  collectionsData: Readonly<Record<string, unknown>>[]
  deleteMissing: boolean
}

export interface SettingsListRequestEvent extends RequestHookEvent {
  settings: Settings
}

export interface SettingsUpdateRequestEvent extends RequestHookEvent {
  readonly oldSettings: Settings
  newSettings: Settings
}

export interface RealtimeConnectRequestEvent extends RequestHookEvent {
  readonly client: RealtimeClient
}

export interface RealtimeSubscribeRequestEvent extends RequestHookEvent {
  readonly client: RealtimeClient
  subscriptions: string[]
}

/** A message on its way to one client. */
export interface RealtimeMessageEvent extends ChainEvent {
  readonly client: RealtimeClient
  readonly message: { name: string; data: string }
}

export interface FileTokenRequestEvent extends RequestHookEvent {
  readonly record: EngineRecord
  token: string
}

export interface FileDownloadRequestEvent extends OfCollection {
  readonly record: EngineRecord
  readonly fileField: FileField
  /** Key in the storage. */
  servedPath: string
  servedName: string
  /** Why there is no thumb, and the original is served. */
  readonly thumbError: unknown
}

export interface BatchRequestEvent extends RequestHookEvent {
  readonly batch: BatchPart[]
}
