"""One run from recipe to model: experiment, cascade, fitting, validation, manifest, monitor of an adaptation."""
