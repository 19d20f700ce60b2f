using System;
using System.Collections.Generic;
using System.Diagnostics.Tracing;
using System.Globalization;
using System.IO;
using System.Threading;
using LowLevel.Allocator;
using Microsoft.Diagnostics.NETCore.Client;
using Microsoft.Diagnostics.Tracing;

namespace LowLevel.Perf;

/// <summary>Feeds a <see cref="WatchModel"/> from a process's diagnostics port: the arenas' meter through the runtime's
/// System.Diagnostics.Metrics provider, and the ends of the reactor's stages.</summary>
internal sealed class WatchSession : IDisposable
{
    /// <summary>The arenas' meter.</summary>
    public const string Meter = "LowLevel.Allocator";

    private const string Metrics = "System.Diagnostics.Metrics";
    private const int BufferMebibytes = 16;

    // Orders x types x states of an arena, and its other instruments, for a few arenas.
    private const int TimeSeriesMax = 2000;

    private readonly WatchModel _model;
    private readonly EventPipeSession _session;
    private readonly EventPipeEventSource _source;
    private readonly Thread _reader;

    private WatchSession(WatchModel model, EventPipeSession session)
    {
        _model = model;
        _session = session;
        _source = new EventPipeEventSource(session.EventStream);
        _source.Dynamic.All += Take;
        _reader = new Thread(Read) { IsBackground = true, Name = "watch" };
        _reader.Start();
    }

    /// <summary>Whether the process has closed the session: it ended.</summary>
    public bool HasEnded => !_reader.IsAlive;

    /// <summary>Attaches to a process.</summary>
    /// <exception cref="MeasurementException">There is no such process, or it serves no diagnostics.</exception>
    public static WatchSession Attach(int process, TimeSpan interval, WatchModel model)
    {
        if (!Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}")))
        {
            throw new MeasurementException($"there is no process {process}");
        }

        Dictionary<string, string> arguments = new()
        {
            ["SessionId"] = "SHARED",
            ["Metrics"] = Meter,
            ["RefreshInterval"] = interval.TotalSeconds.ToString(CultureInfo.InvariantCulture),
            ["MaxTimeSeries"] = TimeSeriesMax.ToString(CultureInfo.InvariantCulture),
            ["MaxHistograms"] = "1",
            ["ClientId"] = Guid.NewGuid().ToString(),
        };
        EventPipeProvider[] providers =
        [
            new(Metrics, EventLevel.Informational, 2, arguments),
            new(TraceSession.Arena, EventLevel.Informational, (long)ArenaEvents.Keywords.Treatment),
        ];
        try
        {
            EventPipeSession session = new DiagnosticsClient(process).StartEventPipeSession(providers, requestRundown: false, BufferMebibytes);
            return new WatchSession(model, session);
        }
        catch (Exception e) when (e is DiagnosticsClientException or IOException or UnauthorizedAccessException or TimeoutException)
        {
            throw new MeasurementException(
                $"process {process} has no diagnostics port that serves: it is no .NET process, another user's, "
                + $"or was started with DOTNET_EnableDiagnostics=0 ({e.Message})",
                e);
        }
    }

    public void Dispose()
    {
        try
        {
            _session.Stop();
        }
        catch (Exception e) when (e is DiagnosticsClientException or IOException or TimeoutException)
        {
            // The process has ended: so has the session.
        }

        _reader.Join();
        _source.Dispose();
        _session.Dispose();
    }

    private void Read()
    {
        try
        {
            _source.Process();
        }
        catch (Exception)
        {
            // The stream was cut off in the middle of an event, because the process ended; that the thread is over tells it.
        }
    }

    private void Take(TraceEvent data)
    {
        lock (_model)
        {
            if (data.ProviderName == Metrics)
            {
                TakeMetric(data);
            }
            else if (data.ProviderName == TraceSession.Arena && data.EventName == nameof(ArenaEvents.Stage))
            {
                var stage = (Stage)Convert.ToInt32(data.PayloadByName("stage"), CultureInfo.InvariantCulture);
                _model.TakeStage(stage.ToString(), (long)data.PayloadByName("pages"), (double)data.PayloadByName("microseconds"));
            }
        }
    }

    /// <summary>Values come as text. Other sessions that share the provider may have asked for other meters.</summary>
    private void TakeMetric(TraceEvent data)
    {
        (string Value, string? Rate)? fields = data.EventName switch
        {
            "GaugeValuePublished" => ("lastValue", null),
            "CounterRateValuePublished" or "UpDownCounterRateValuePublished" => ("value", "rate"),
            _ => null,
        };
        if (fields is not (string value, var rate) || Text(data, "meterName") != Meter)
        {
            return;
        }

        if (Number(data, value) is double now)
        {
            _model.Take(Text(data, "instrumentName"), Text(data, "tags"), now, rate is null ? null : Number(data, rate));
        }
    }

    private static string Text(TraceEvent data, string field) => data.PayloadByName(field) as string ?? "";

    private static double? Number(TraceEvent data, string field) =>
        double.TryParse(Text(data, field), NumberStyles.Float, CultureInfo.InvariantCulture, out double value) ? value : null;
}
