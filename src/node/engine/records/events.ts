// The chains around record operations, as PocketBase names them. Each has the chain of its model event inside: handlers
// of `onRecordCreate` stand around those of `onModelCreate`, which stand around the work.

import type { MaybePromise } from '../../../lib/result.ts'
import type { RuleRequest } from '../filter/resolver.ts'
import { type ChainEvent, HookChain } from '../hook-chain.ts'
import type { EngineRecord } from './record.ts'

export interface RecordEvent extends ChainEvent {
  readonly record: EngineRecord
}

export interface RecordErrorEvent extends RecordEvent {
  readonly error: unknown
}

export interface RecordEnrichEvent extends RecordEvent {
  readonly requestInfo: RuleRequest
}

/** What is stored, as `onModel…` handlers see it: a record, or a collection. */
export interface ModelEvent<M = unknown> extends ChainEvent {
  readonly model: M
}

export interface ModelErrorEvent<M = unknown> extends ModelEvent<M> {
  readonly error: unknown
}

/** A chain of records and the one of models that runs inside it. */
export class RecordChain<E extends RecordEvent = RecordEvent> extends HookChain<E> {
  readonly model: HookChain<ModelErrorEvent> | HookChain<ModelEvent>

  constructor(model: HookChain<ModelErrorEvent> | HookChain<ModelEvent>) {
    super()
    this.model = model
  }
}

export class RecordChains {
  readonly onModelValidate = new HookChain<ModelEvent>()
  readonly onModelCreate = new HookChain<ModelEvent>()
  readonly onModelCreateExecute = new HookChain<ModelEvent>()
  readonly onModelAfterCreateSuccess = new HookChain<ModelEvent>()
  readonly onModelAfterCreateError = new HookChain<ModelErrorEvent>()
  readonly onModelUpdate = new HookChain<ModelEvent>()
  readonly onModelUpdateExecute = new HookChain<ModelEvent>()
  readonly onModelAfterUpdateSuccess = new HookChain<ModelEvent>()
  readonly onModelAfterUpdateError = new HookChain<ModelErrorEvent>()
  readonly onModelDelete = new HookChain<ModelEvent>()
  readonly onModelDeleteExecute = new HookChain<ModelEvent>()
  readonly onModelAfterDeleteSuccess = new HookChain<ModelEvent>()
  readonly onModelAfterDeleteError = new HookChain<ModelErrorEvent>()

  readonly onRecordValidate = new RecordChain(this.onModelValidate)
  readonly onRecordCreate = new RecordChain(this.onModelCreate)
  readonly onRecordCreateExecute = new RecordChain(this.onModelCreateExecute)
  readonly onRecordAfterCreateSuccess = new RecordChain(this.onModelAfterCreateSuccess)
  readonly onRecordAfterCreateError = new RecordChain<RecordErrorEvent>(this.onModelAfterCreateError)
  readonly onRecordUpdate = new RecordChain(this.onModelUpdate)
  readonly onRecordUpdateExecute = new RecordChain(this.onModelUpdateExecute)
  readonly onRecordAfterUpdateSuccess = new RecordChain(this.onModelAfterUpdateSuccess)
  readonly onRecordAfterUpdateError = new RecordChain<RecordErrorEvent>(this.onModelAfterUpdateError)
  readonly onRecordDelete = new RecordChain(this.onModelDelete)
  readonly onRecordDeleteExecute = new RecordChain(this.onModelDeleteExecute)
  readonly onRecordAfterDeleteSuccess = new RecordChain(this.onModelAfterDeleteSuccess)
  readonly onRecordAfterDeleteError = new RecordChain<RecordErrorEvent>(this.onModelAfterDeleteError)
  readonly onRecordEnrich = new HookChain<RecordEnrichEvent>()
}

/** Runs `chain` for the collection of `record`, by id and by name, and the chain of its model inside. */
export function triggerRecord<E extends RecordEvent>(
  chain: RecordChain<E> | HookChain<E>,
  event: Omit<E, 'next'>,
  finalizer: () => MaybePromise<void>,
): MaybePromise<void> {
  const model = chain instanceof RecordChain ? chain.model : null
  const isBare = model === null || model.isEmpty
  if (isBare && chain.isEmpty) return finalizer()
  const { collection } = event.record
  const tags = [collection.id, collection.name]
  const inner = isBare ? finalizer : () => triggerModel(model, event.record, tags, event, finalizer)
  return chain.trigger({ ...event, next() {} } as unknown as E, inner, tags)
}

/** @param facts further members of the event: an error, what changed. */
export function triggerModel(
  chain: HookChain<ModelErrorEvent> | HookChain<ModelEvent>,
  model: unknown,
  tags: readonly string[],
  facts: object,
  finalizer: () => MaybePromise<void>,
): MaybePromise<void> {
  if (chain.isEmpty) return finalizer()
  return (chain as HookChain<ModelEvent>).trigger({ ...facts, model, next() {} }, finalizer, tags)
}
