"""Virtual heads: anatomy, lesions, MR and CT."""
