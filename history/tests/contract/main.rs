//! What every store must do, and what the embedded one must survive.
//!
//! Another implementation adds a [`Subject`] and a line of `whole_contract!`.

mod damaged;
mod influx;
mod killed;
mod model;
mod rows;
mod servers;
mod suite;

use history::store::{SqliteOptions, SqliteStore, Store};

use testkit::directory::Directory;

/// A store that can be closed and opened again.
pub(crate) trait Subject {
    type Store: Store;

    fn open(&self) -> Self::Store;

    /// By how much the long tests are shorter: a server takes milliseconds for each append.
    fn divisor(&self) -> usize {
        1
    }
}

struct Sqlite(Directory);

impl Subject for Sqlite {
    type Store = SqliteStore;

    fn open(&self) -> SqliteStore {
        SqliteStore::open(self.0.path(), SqliteOptions::default()).expect("a new directory")
    }
}

/// One test for each behaviour and implementation; a subject that is `None` is not there.
macro_rules! contract {
    ($implementation:ident, $subject:expr, $($behaviour:ident),+ $(,)?) => {
        mod $implementation {
            $(
                #[test]
                fn $behaviour() {
                    if let Some(subject) = $subject {
                        crate::suite::$behaviour(&subject);
                    }
                }
            )+
        }
    };
}

/// All of them.
macro_rules! whole_contract {
    ($implementation:ident, $subject:expr) => {
        contract!(
            $implementation,
            $subject,
            a_store_equals_its_model_after_any_appends,
            the_highest_revision_is_current_in_whatever_order_they_come,
            an_earlier_state_is_read_as_of_its_time,
            an_imported_bar_yields_to_one_made_here,
            a_partial_bar_yields_to_the_whole_one_of_the_venue,
            rows_that_come_twice_are_stored_once,
            trades_of_one_millisecond_are_paged_without_loss,
            a_watermark_is_kept_and_never_falls,
            dropping_old_months_keeps_the_other_rows_and_the_watermarks,
            rows_that_cannot_be_stored_leave_nothing_behind,
            readers_see_whole_appends_while_rows_are_written_and_sealed,
            a_catalog_says_what_is_stored,
            a_day_says_which_trades_it_lacks_and_what_its_bars_hold,
            a_day_with_very_many_gaps_lists_a_bounded_number,
            a_healed_gap_is_another_cause_and_the_one_before_is_known_as_of_its_time,
        );
    };
}

whole_contract!(sqlite, Some(crate::Sqlite(crate::Directory::new())));
whole_contract!(clickhouse, crate::servers::ClickHouse::start());
whole_contract!(influx_server, crate::influx::Influx::start());
