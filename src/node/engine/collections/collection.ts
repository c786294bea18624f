// A collection as plain data: what `_collections` holds and the API shows. PocketBase: core/collection_model.go.

import type { Field } from '../fields/field.ts'

export type CollectionType = 'base' | 'auth' | 'view'

/** null: superusers only; empty: anyone; else a filter. */
export type Rule = string | null

export interface EmailTemplate {
  readonly subject: string
  readonly body: string
}

export interface TokenOptions {
  readonly secret: string
  /** Seconds. */
  readonly duration: number
}

export interface OAuth2ProviderOptions {
  readonly pkce: boolean | null
  readonly name: string
  readonly clientId: string
  readonly clientSecret: string
  readonly authURL: string
  readonly tokenURL: string
  readonly userInfoURL: string
  readonly displayName: string
  readonly extra: Readonly<Record<string, unknown>> | null
}

/** In the order in which PocketBase writes them. */
export interface AuthOptions {
  readonly authRule: Rule
  readonly manageRule: Rule
  readonly authAlert: { readonly enabled: boolean; readonly emailTemplate: EmailTemplate }
  readonly oauth2: {
    readonly providers: readonly OAuth2ProviderOptions[]
    readonly mappedFields: {
      readonly id: string
      readonly name: string
      readonly username: string
      readonly avatarURL: string
    }
    readonly enabled: boolean
  }
  readonly passwordAuth: { readonly enabled: boolean; readonly identityFields: readonly string[] }
  readonly mfa: { readonly enabled: boolean; readonly duration: number; readonly rule: string }
  readonly otp: {
    readonly enabled: boolean
    readonly duration: number
    readonly length: number
    readonly emailTemplate: EmailTemplate
  }
  readonly authToken: TokenOptions
  readonly passwordResetToken: TokenOptions
  readonly emailChangeToken: TokenOptions
  readonly verificationToken: TokenOptions
  readonly fileToken: TokenOptions
  readonly verificationTemplate: EmailTemplate
  readonly resetPasswordTemplate: EmailTemplate
  readonly confirmEmailChangeTemplate: EmailTemplate
}

export interface ViewOptions {
  readonly viewQuery: string
}

/** Everything that is stored. Changed by making a new one. */
export interface CollectionData {
  readonly id: string
  readonly name: string
  readonly type: CollectionType
  readonly system: boolean
  readonly fields: readonly Field[]
  /** `CREATE [UNIQUE] INDEX …` texts. */
  readonly indexes: readonly string[]
  readonly listRule: Rule
  readonly viewRule: Rule
  readonly createRule: Rule
  readonly updateRule: Rule
  readonly deleteRule: Rule
  /** Of auth collections only. */
  readonly auth: AuthOptions | null
  /** Of view collections only. */
  readonly view: ViewOptions | null
  readonly created: string
  readonly updated: string
}

export const superusersName = '_superusers'
export const externalAuthsName = '_externalAuths'
export const mfasName = '_mfas'
export const otpsName = '_otps'
export const authOriginsName = '_authOrigins'

/** A collection in use: the data and look-ups made of it once. */
export class Collection {
  readonly data: CollectionData
  readonly #byName = new Map<string, Field>()
  readonly #byId = new Map<string, Field>()
  #exported: readonly string[] | null = null

  constructor(data: CollectionData) {
    this.data = data
    for (const field of data.fields) {
      this.#byName.set(field.name, field)
      this.#byId.set(field.id, field)
    }
  }

  get id(): string {
    return this.data.id
  }
  get name(): string {
    return this.data.name
  }
  get type(): CollectionType {
    return this.data.type
  }
  get fields(): readonly Field[] {
    return this.data.fields
  }
  get isAuth(): boolean {
    return this.data.type === 'auth'
  }
  get isView(): boolean {
    return this.data.type === 'view'
  }
  get isSuperusers(): boolean {
    return this.data.name === superusersName
  }

  /** The options of an auth collection; throws for others, which is our own mistake. */
  get auth(): AuthOptions {
    if (this.data.auth === null) throw new Error(`${this.name} is no auth collection`)
    return this.data.auth
  }

  field(name: string): Field | undefined {
    return this.#byName.get(name)
  }

  fieldById(id: string): Field | undefined {
    return this.#byId.get(id)
  }

  /** What an answer may show of a record, in the order of its JSON: field names, `collectionId` and `collectionName`. */
  get exportedKeys(): readonly string[] {
    return (this.#exported ??= [
      ...this.fields.filter((field) => !field.hidden).map((field) => field.name),
      'collectionId',
      'collectionName',
    ].sort())
  }
}
