// Every chain of an engine, under the names of PocketBase's hooks. PocketBase: core/app.go.

import { HookChain } from './hook-chain.ts'
import type * as events from './hook-events.ts'
import { RecordChains } from './records/events.ts'

export class Chains extends RecordChains {
  readonly onBootstrap = new HookChain<events.AppEvent>()
  readonly onServe = new HookChain<events.AppEvent>()
  readonly onTerminate = new HookChain<events.TerminateEvent>()

  readonly onBackupCreate = new HookChain<events.BackupEvent>()
  readonly onBackupRestore = new HookChain<events.BackupEvent>()

  readonly onCollectionValidate = new HookChain<events.CollectionEvent>()
  readonly onCollectionCreate = new HookChain<events.CollectionEvent>()
  readonly onCollectionCreateExecute = new HookChain<events.CollectionEvent>()
  readonly onCollectionAfterCreateSuccess = new HookChain<events.CollectionEvent>()
  readonly onCollectionAfterCreateError = new HookChain<events.CollectionErrorEvent>()
  readonly onCollectionUpdate = new HookChain<events.CollectionEvent>()
  readonly onCollectionUpdateExecute = new HookChain<events.CollectionEvent>()
  readonly onCollectionAfterUpdateSuccess = new HookChain<events.CollectionEvent>()
  readonly onCollectionAfterUpdateError = new HookChain<events.CollectionErrorEvent>()
  readonly onCollectionDelete = new HookChain<events.CollectionEvent>()
  readonly onCollectionDeleteExecute = new HookChain<events.CollectionEvent>()
  readonly onCollectionAfterDeleteSuccess = new HookChain<events.CollectionEvent>()
  readonly onCollectionAfterDeleteError = new HookChain<events.CollectionErrorEvent>()

  readonly onMailerSend = new HookChain<events.MailerEvent>()
  readonly onMailerRecordAuthAlertSend = new HookChain<events.MailerRecordEvent>()
  readonly onMailerRecordPasswordResetSend = new HookChain<events.MailerRecordEvent>()
  readonly onMailerRecordVerificationSend = new HookChain<events.MailerRecordEvent>()
  readonly onMailerRecordEmailChangeSend = new HookChain<events.MailerRecordEvent>()
  readonly onMailerRecordOTPSend = new HookChain<events.MailerRecordEvent>()

  readonly onRealtimeConnectRequest = new HookChain<events.RealtimeConnectRequestEvent>()
  readonly onRealtimeMessageSend = new HookChain<events.RealtimeMessageEvent>()
  readonly onRealtimeSubscribeRequest = new HookChain<events.RealtimeSubscribeRequestEvent>()

  readonly onSettingsListRequest = new HookChain<events.SettingsListRequestEvent>()
  readonly onSettingsUpdateRequest = new HookChain<events.SettingsUpdateRequestEvent>()
  readonly onSettingsReload = new HookChain<events.SettingsReloadEvent>()

  readonly onFileDownloadRequest = new HookChain<events.FileDownloadRequestEvent>()
  readonly onFileTokenRequest = new HookChain<events.FileTokenRequestEvent>()

  readonly onRecordAuthRequest = new HookChain<events.RecordAuthRequestEvent>()
  readonly onRecordAuthWithPasswordRequest = new HookChain<events.RecordAuthWithPasswordRequestEvent>()
  readonly onRecordAuthWithOAuth2Request = new HookChain<events.RecordAuthWithOAuth2RequestEvent>()
  readonly onRecordAuthRefreshRequest = new HookChain<events.RecordAuthRefreshRequestEvent>()
  readonly onRecordRequestPasswordResetRequest = new HookChain<events.RecordMailRequestEvent>()
  readonly onRecordConfirmPasswordResetRequest = new HookChain<events.RecordMailRequestEvent>()
  readonly onRecordRequestVerificationRequest = new HookChain<events.RecordMailRequestEvent>()
  readonly onRecordConfirmVerificationRequest = new HookChain<events.RecordMailRequestEvent>()
  readonly onRecordRequestEmailChangeRequest = new HookChain<events.RecordEmailChangeRequestEvent>()
  readonly onRecordConfirmEmailChangeRequest = new HookChain<events.RecordEmailChangeRequestEvent>()
  readonly onRecordRequestOTPRequest = new HookChain<events.RecordCreateOTPRequestEvent>()
  readonly onRecordAuthWithOTPRequest = new HookChain<events.RecordAuthWithOTPRequestEvent>()

  readonly onRecordsListRequest = new HookChain<events.RecordsListRequestEvent>()
  readonly onRecordViewRequest = new HookChain<events.RecordRequestEvent>()
  readonly onRecordCreateRequest = new HookChain<events.RecordRequestEvent>()
  readonly onRecordUpdateRequest = new HookChain<events.RecordRequestEvent>()
  readonly onRecordDeleteRequest = new HookChain<events.RecordRequestEvent>()

  readonly onCollectionsListRequest = new HookChain<events.CollectionsListRequestEvent>()
  readonly onCollectionViewRequest = new HookChain<events.CollectionRequestEvent>()
  readonly onCollectionCreateRequest = new HookChain<events.CollectionRequestEvent>()
  readonly onCollectionUpdateRequest = new HookChain<events.CollectionRequestEvent>()
  readonly onCollectionDeleteRequest = new HookChain<events.CollectionRequestEvent>()
  readonly onCollectionsImportRequest = new HookChain<events.CollectionsImportRequestEvent>()

  readonly onBatchRequest = new HookChain<events.BatchRequestEvent>()
}
