// The chains around record operations, as PocketBase names them.

import type { MaybePromise } from '../../../lib/result.ts'
import { type ChainEvent, HookChain } from '../hook-chain.ts'
import type { EngineRecord } from './record.ts'

export interface RecordEvent extends ChainEvent {
  readonly record: EngineRecord
}

export interface RecordErrorEvent extends RecordEvent {
  readonly error: unknown
}

export class RecordChains {
  readonly onRecordValidate = new HookChain<RecordEvent>()
  readonly onRecordCreate = new HookChain<RecordEvent>()
  readonly onRecordCreateExecute = new HookChain<RecordEvent>()
  readonly onRecordAfterCreateSuccess = new HookChain<RecordEvent>()
  readonly onRecordAfterCreateError = new HookChain<RecordErrorEvent>()
  readonly onRecordUpdate = new HookChain<RecordEvent>()
  readonly onRecordUpdateExecute = new HookChain<RecordEvent>()
  readonly onRecordAfterUpdateSuccess = new HookChain<RecordEvent>()
  readonly onRecordAfterUpdateError = new HookChain<RecordErrorEvent>()
  readonly onRecordDelete = new HookChain<RecordEvent>()
  readonly onRecordDeleteExecute = new HookChain<RecordEvent>()
  readonly onRecordAfterDeleteSuccess = new HookChain<RecordEvent>()
  readonly onRecordAfterDeleteError = new HookChain<RecordErrorEvent>()
  readonly onRecordEnrich = new HookChain<RecordEvent>()
}

/** Runs `chain` for the collection of `record`, by id and by name. */
export function triggerRecord<E extends RecordEvent>(
  chain: HookChain<E>,
  event: Omit<E, 'next'>,
  finalizer: () => MaybePromise<void>,
): MaybePromise<void> {
  const { collection } = event.record
  return chain.trigger({ ...event, next() {} } as unknown as E, finalizer, [collection.id, collection.name])
}
