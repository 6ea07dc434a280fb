"""Will this flight leave late? Real departures from New York, predicted one hour ahead."""
