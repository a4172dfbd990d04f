"""Virtual prostates: anatomy, lesions, T2W, ADC and DWI."""
