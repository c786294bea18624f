// What several modes read out of the options in the same way.

import { type ClusterSecrets, clusterSecrets } from '../ipc/keys.ts'
import { ConfigError } from '../lib/errors.ts'
import type { FleetOptions } from './mode.ts'

export function fleetSecrets(options: FleetOptions): ClusterSecrets {
  if (options.clusterSecret === undefined)
    throw new ConfigError(
      '--cluster-secret: this mode needs the secret of its fleet (CLUSTER_SECRET, or --cluster-secret-file)',
    )
  return clusterSecrets(options.clusterSecret)
}

export function requireControlPlane(options: FleetOptions): readonly string[] {
  if (options.controlPlane === undefined)
    throw new ConfigError('--control-plane: this mode needs the HTTP address of at least one control-plane member')
  return options.controlPlane
}
