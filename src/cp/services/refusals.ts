// Why something about a tenant is refused: what the state says when the decision is applied, and what is known before.

import type { RejectReason } from '../state/command.ts'

export type TenantRefusal =
  | RejectReason
  | 'bad_slug'
  | 'reserved_slug'
  | 'bad_domain'
  | 'unknown_plan'
  | 'password_length'
  | 'no_node'
  | 'no_room'
  | 'no_warm_standby'
  | 'same_node'
  | 'not_active'
  | 'not_suspended'
  | 'not_archived'
  | 'already_known'
  | 'history_not_found'
  | 'standbys_unknown'
